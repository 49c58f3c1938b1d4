"""The packages: ``configs/`` and ``results/`` of a working copy are inside ``pixelvae/`` of an installed package."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["pixelvae*"]), "pixelvae.configs", "pixelvae.results"],
    package_dir={"pixelvae.configs": "configs", "pixelvae.results": "results"},
    package_data={
        "pixelvae": ["**/*.cpp", "**/*.h"],
        "pixelvae.configs": ["*/*.yaml"],
        "pixelvae.results": ["weights.json", "*/*/config.yaml"],  # of published models
    },
)
