"""Decode sound files to waves of one channel and one rate."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pixelvae.data.files import FileError

EXTENSIONS = frozenset({".flac", ".mp3", ".ogg", ".wav"})

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_MAX_RATE = 768_000  # samples per second; a higher rate in a header is an error

Samples = npt.NDArray[np.float64]


def read_sound(file: Path, rate: int) -> Tensor:
    """Read a sound of any rate and number of channels as a wave in [−1, 1], (N,) float64.

    Args:
        file: wav (PCM of 8 to 32 bits, floats, μ-law or A-law); flac, ogg and mp3 need the package soundfile.
        rate: Samples per second after resampling. Channels are averaged.

    Raises:
        FileError: If it cannot be read, is truncated, or has no samples or one that is not finite.
    """
    try:
        samples, file_rate = _read_wav(file.read_bytes()) if file.suffix.lower() == ".wav" else _decode(file)
        _check(samples, file_rate)
    except (OSError, ValueError) as error:
        raise FileError.of("sound", file, error) from error
    wave = samples.mean(1)
    if file_rate != rate:
        from scipy.signal import resample_poly  # imported here because it takes a second

        common = math.gcd(rate, file_rate)
        wave = resample_poly(wave, rate // common, file_rate // common)
    return torch.from_numpy(wave)


def _check(samples: Samples, rate: int) -> None:
    if not 1 <= rate <= _MAX_RATE:
        raise ValueError(f"it claims {rate} samples per second")
    if len(samples) == 0:
        raise ValueError("it holds no sample")
    if not np.isfinite(samples).all():
        raise ValueError("it holds samples that are not finite")


def _decode(file: Path) -> tuple[Samples, int]:
    """Samples (N, channels) and rate of a compressed sound."""
    try:
        import soundfile  # imported here because it is optional
    except ImportError as error:
        raise ValueError(f"{file.suffix} needs the package soundfile: pip install 'pixelvae[audio]'") from error
    try:
        samples, rate = soundfile.read(file, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    return samples, rate


class _Format(NamedTuple):
    """The format chunk of a wav file."""

    kind: int
    channels: int
    rate: int
    bits: int


def _read_wav(content: bytes) -> tuple[Samples, int]:
    """Samples (N, channels) in [−1, 1] and rate of a wav file.

    Reference:
        Multimedia Programming Interface and Data Specifications 1.0 (IBM, Microsoft, 1991), section "WAVE".
        https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html
    """
    if content[:4] not in (b"RIFF", b"RIFX") or content[8:12] != b"WAVE":
        raise ValueError("it does not begin as a wav file does")
    order = "<" if content[:4] == b"RIFF" else ">"
    form: _Format | None = None
    begin = 12
    while begin + 8 <= len(content):
        name, size = struct.unpack(f"{order}4sI", content[begin : begin + 8])
        chunk = content[begin + 8 : begin + 8 + size]
        if name == b"fmt ":
            form = _format(chunk, order)
        elif name == b"data":
            if form is None:
                raise ValueError("its format comes after its samples")
            if len(chunk) < size:
                raise ValueError(f"it is truncated: {size:,} bytes of samples are promised, {len(chunk):,} are there")
            return _samples(chunk, form, order), form.rate
        begin += 8 + size + size % 2
    raise ValueError("it is truncated: no samples are there")


def _format(chunk: bytes, order: str) -> _Format:
    if len(chunk) < 16:
        raise ValueError("it is truncated in its format")
    kind, channels, rate, _, _, bits = struct.unpack(f"{order}HHIIHH", chunk[:16])
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        (kind,) = struct.unpack(f"{order}H", chunk[24:26])
    if channels < 1:
        raise ValueError("it has no channels")
    known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64), _A_LAW: (8,), _MU_LAW: (8,)}
    if bits not in known.get(kind, ()):
        raise ValueError(
            f"format {kind} with {bits} bits is none of PCM (8 to 32 bits), floats (32 or 64), μ-law and A-law (8)"
        )
    return _Format(kind, channels, rate, bits)


def _samples(chunk: bytes, form: _Format, order: str) -> Samples:
    frame = form.channels * form.bits // 8
    chunk = chunk[: len(chunk) // frame * frame]
    if form.kind == _FLOAT:
        values = np.frombuffer(chunk, f"{order}f{form.bits // 8}").astype(np.float64)
    elif form.kind == _MU_LAW:
        values = _mu_law(np.frombuffer(chunk, np.uint8))
    elif form.kind == _A_LAW:
        values = _a_law(np.frombuffer(chunk, np.uint8))
    elif form.bits == 8:
        values = (np.frombuffer(chunk, np.uint8).astype(np.float64) - 128) / 128
    elif form.bits == 24:
        values = _pcm_24(np.frombuffer(chunk, np.uint8).reshape(-1, 3), order)
    else:
        values = np.frombuffer(chunk, f"{order}i{form.bits // 8}") / 2.0 ** (form.bits - 1)
    return values.reshape(-1, form.channels)


def _pcm_24(octets: npt.NDArray[np.uint8], order: str) -> Samples:
    """(N, 3) bytes -> (N,)."""
    low, middle, high = octets.T if order == "<" else octets.T[::-1]
    return (low + 256.0 * middle + 65536.0 * high.view(np.int8)) / 2**23


def _mu_law(code: npt.NDArray[np.uint8]) -> Samples:
    r"""Decode the μ-law of telephony: inverted codes of a sign, an exponent e of 3 bits and a mantissa m of 4 bits.

    .. math:: v = \pm ((2m + 33)\,2^e - 33) / 8192

    Reference:
        Pulse code modulation of voice frequencies, Recommendation G.711 (ITU-T, 1988), table 2.
        https://www.itu.int/rec/T-REC-G.711
    """
    sign, exponent, mantissa = _parts(code ^ 0xFF)
    return -sign * ((2 * mantissa + 33) * 2**exponent - 33) / 8192


def _a_law(code: npt.NDArray[np.uint8]) -> Samples:
    r"""Decode the A-law of telephony, in which every other bit is inverted.

    .. math:: v = \pm (2m + 33)\,2^{e - 1} / 4096 \text{ if } e > 0, \text{ else } \pm (2m + 1) / 4096

    Reference:
        Pulse code modulation of voice frequencies, Recommendation G.711 (ITU-T, 1988), table 1.
        https://www.itu.int/rec/T-REC-G.711
    """
    sign, exponent, mantissa = _parts(code ^ 0x55)
    steps = np.where(exponent > 0, (2 * mantissa + 33) * 2.0 ** (exponent - 1), 2 * mantissa + 1)
    return sign * steps / 4096


def _parts(bits: npt.NDArray[np.integer]) -> tuple[Samples, Samples, Samples]:
    """Sign (+1 where the first bit is set, else −1), exponent and mantissa."""
    sign = np.where(bits & 0x80, 1.0, -1.0)
    return sign, ((bits >> 4) & 7).astype(np.float64), (bits & 15).astype(np.float64)
