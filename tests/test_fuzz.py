import fuzzing
import pytest

READERS = (
    "archive",
    "file names",
    "picture",
    "official files",
    "record",
    "checkpoint",
    "config",
    "probe",
    "plan",
    "parameters",
    "stored values",
)


@pytest.mark.parametrize("name", READERS)
def test_readers_answer_any_input_with_a_documented_error(name, tmp_path, small_data, capsys):
    readers = fuzzing.Readers(tmp_path, small_data)
    assert set(readers.all) == set(READERS)
    assert readers.fuzz(name, 300) >= 100
