"""The packages: ``configs/`` of a working copy is ``pixelvae/configs/`` of an installed package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["pixelvae*"]), "pixelvae.configs"],
    package_dir={"pixelvae.configs": "configs"},
    package_data={"pixelvae": ["**/*.cpp", "**/*.h"], "pixelvae.configs": ["*/*.yaml"]},
)
