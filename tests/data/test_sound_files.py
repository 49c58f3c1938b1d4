"""Sound files are decoded to waves in [−1, 1] of one rate; errors name the file."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.io import wavfile

from pixelvae.data.files import FileError
from pixelvae.data.sound_files import read_sound

RATE = 8000


def write(file, wave, rate=RATE):
    wavfile.write(file, rate, np.asarray(wave))
    return file


def constant(value, size=20):
    return np.full(size, value, np.int16)


def tone(rate=RATE, seconds=0.25):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)


class TestReading:
    @pytest.mark.parametrize(
        ("samples", "wave"),
        [
            (np.array([0, 128, 255], np.uint8), [-1, 0, 127 / 128]),
            (np.array([-32768, 0, 16384], np.int16), [-1, 0, 0.5]),
            (np.array([-(2**31), 0, 2**30], np.int32), [-1, 0, 0.5]),
            (np.array([-1, 0, 0.5], np.float32), [-1, 0, 0.5]),
            (np.array([-1, 0, 0.5], np.float64), [-1, 0, 0.5]),
            (np.array([[-32768, 0], [16384, 16384]], np.int16), [-0.5, 0.5]),
        ],
    )
    def test_any_format_is_a_wave_from_minus_one_to_one(self, tmp_path, samples, wave):
        read = read_sound(write(tmp_path / "a.wav", samples), RATE)
        torch.testing.assert_close(read, torch.tensor(wave, dtype=torch.float64))

    @pytest.mark.parametrize("rate", [4000, 8000, 11025, 44100])
    def test_a_tone_is_the_same_tone_at_another_rate(self, tmp_path, rate):
        wave = read_sound(write(tmp_path / "a.wav", tone(rate), rate), RATE)
        assert len(wave) == RATE // 4
        assert np.abs(wave.numpy() - tone(RATE))[100:-100].max() < 0.01  # all but the filter's ends

    @pytest.mark.parametrize("size", range(5))
    def test_a_chunk_that_is_no_sound_is_passed_over(self, tmp_path, size):
        """With the byte that fills a chunk up to an even number of bytes."""
        file = write(tmp_path / "a.wav", constant(5))
        content = bytearray(file.read_bytes())
        chunk = b"bext" + size.to_bytes(4, "little") + b"note"[:size] + bytes(size % 2)
        content[36:36] = chunk  # after the format, before the samples
        content[4:8] = (len(content) - 8).to_bytes(4, "little")
        file.write_bytes(bytes(content))
        assert read_sound(file, RATE).tolist() == [5 / 2**15] * 20

    @pytest.mark.parametrize("kept", [0, 3, 20, 40])
    def test_a_broken_one_is_named(self, tmp_path, kept):
        file = write(tmp_path / "broken.wav", constant(5))
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(ValueError, match=r"cannot read the sound .*broken\.wav: .*mend or remove"):
            read_sound(file, RATE)

    def test_an_empty_one_is_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"a\.wav: it holds no sample"):
            read_sound(write(tmp_path / "a.wav", constant(0, 0)), RATE)

    def test_samples_that_are_missing_are_not_passed_over(self, tmp_path):
        file = write(tmp_path / "a.wav", constant(5, 1000))
        file.write_bytes(file.read_bytes()[:-500])
        message = r"a\.wav: it is truncated: 2,000 bytes of samples are promised, 1,500 are there; mend or remove"
        with pytest.raises(FileError, match=message):
            read_sound(file, RATE)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_samples_that_are_not_finite_are_refused(self, tmp_path, value, dtype):
        file = write(tmp_path / "a.wav", np.array([0, value, 0], dtype))
        with pytest.raises(FileError, match=r"a\.wav: it holds samples that are not finite"):
            read_sound(file, RATE)

    @pytest.mark.parametrize(
        ("offset", "form", "value", "message"),
        [
            (24, "<I", 0, "it claims 0 samples per second"),
            (24, "<I", 2**32 - 1, "it claims 4294967295 samples per second"),
            (22, "<H", 0, "it has no channels"),
            (20, "<H", 85, "format 85 with 16 bits is none of PCM"),
            (34, "<H", 13, "format 1 with 13 bits is none of PCM"),
            (16, "<I", 2**32 - 1, "it is truncated"),
            (16, "<I", 4, "it is truncated in its format"),
            (0, "<I", 0, "it does not begin as a wav file does"),
        ],
    )
    def test_a_wrong_header_is_refused(self, tmp_path, offset, form, value, message):
        content = bytearray(write(tmp_path / "a.wav", constant(5)).read_bytes())
        struct.pack_into(form, content, offset, value)
        (tmp_path / "a.wav").write_bytes(bytes(content))
        with pytest.raises(FileError, match=rf"a\.wav: {message}"):
            read_sound(tmp_path / "a.wav", RATE)

    def test_a_file_that_is_gone_is_named(self, tmp_path):
        with pytest.raises(FileError, match=r"a\.wav: No such file or directory"):
            read_sound(tmp_path / "a.wav", RATE)


class TestFormats:
    """What libsndfile writes and reads is the oracle."""

    @pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
    @pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
    @pytest.mark.parametrize("endian", ["LITTLE", "BIG"])
    def test_all_of_wav(self, tmp_path, subtype, kind, endian):
        if kind == "WAVEX" and endian == "BIG":
            pytest.skip("libsndfile writes no such file")
        wave = np.random.default_rng(0).uniform(-1, 1, (3000, 2))
        soundfile.write(tmp_path / "a.wav", wave, RATE, subtype=subtype, format=kind, endian=endian)
        expected, _ = soundfile.read(tmp_path / "a.wav", dtype="float64")
        torch.testing.assert_close(read_sound(tmp_path / "a.wav", RATE), torch.from_numpy(expected.mean(1)))

    @pytest.mark.parametrize("extension", ["flac", "ogg", "mp3"])
    def test_compressed_ones(self, tmp_path, extension):
        soundfile.write(tmp_path / f"a.{extension}", tone(seconds=1), RATE)
        wave = read_sound(tmp_path / f"a.{extension}", RATE).numpy()
        assert np.abs(wave[: len(tone(seconds=1))] - tone(seconds=1))[1000:-1000].max() < 0.08

    @pytest.mark.parametrize("extension", ["flac", "ogg", "mp3"])
    def test_broken_compressed_ones_are_named(self, tmp_path, extension):
        (tmp_path / f"a.{extension}").write_bytes(b"no sound at all" * 10)
        with pytest.raises(FileError, match=rf"cannot read the sound .*a\.{extension}: .*mend or remove"):
            read_sound(tmp_path / f"a.{extension}", RATE)

    def test_without_soundfile_the_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "soundfile", None)
        (tmp_path / "a.mp3").touch()
        with pytest.raises(
            FileError, match=r"a\.mp3: .mp3 needs the package soundfile: pip install 'pixelvae\[audio\]'"
        ):
            read_sound(tmp_path / "a.mp3", RATE)


def refusal(file):
    """The message with which a file is refused; empty if it is read."""
    try:
        assert read_sound(file, RATE).isfinite().all()
    except FileError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_raise_nothing_else(tmp_path: Path, seed: int) -> None:
    """One byte changed in the header, or the file cut: read, or refused by name."""
    rng = np.random.default_rng(seed)
    file = write(tmp_path / "a.wav", rng.integers(-9999, 9999, 50).astype(np.int16))
    whole = file.read_bytes()
    for _ in range(100):
        content = bytearray(whole)
        content[rng.integers(60)] = rng.integers(256)
        file.write_bytes(bytes(content)[: rng.integers(len(content)) if rng.random() < 0.3 else None])
        message = refusal(file)
        assert not message or str(file) in message
