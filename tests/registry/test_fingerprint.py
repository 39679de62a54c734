import json
from pathlib import Path

import pytest

from registry.fingerprint import FINGERPRINT, base_fingerprint, differences


def model_folder(folder: Path, **config: object) -> Path:
    folder.mkdir()
    said = {"model_type": "llama", "hidden_size": 128, **config}
    (folder / "config.json").write_text(json.dumps(said))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE"}}))
    (folder / "chat_template.jinja").write_text("{{ messages }}\n")
    return folder


def test_the_same_model_saved_by_another_version_has_the_same_fingerprint(tmp_path: Path) -> None:
    one = model_folder(tmp_path / "one", transformers_version="5.19", dtype="float32")
    other = model_folder(tmp_path / "other", transformers_version="5.20", use_cache=False)

    assert base_fingerprint(one) == base_fingerprint(other)


def test_padding_set_by_the_last_caller_is_not_part_of_a_tokenizer(tmp_path: Path) -> None:
    one, other = model_folder(tmp_path / "one"), model_folder(tmp_path / "other")
    saved = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps({**saved, "padding": {"length": 64}}))

    assert base_fingerprint(one) == base_fingerprint(other)


def test_a_template_in_the_tokenizers_config_equals_one_in_its_own_file(tmp_path: Path) -> None:
    one, other = model_folder(tmp_path / "one"), model_folder(tmp_path / "other")
    (other / "chat_template.jinja").unlink()
    (other / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))

    assert base_fingerprint(one) == base_fingerprint(other)


def test_names_what_differs(tmp_path: Path) -> None:
    ours = base_fingerprint(model_folder(tmp_path / "ours"))
    folder = model_folder(tmp_path / "theirs", hidden_size=256)
    (folder / "chat_template.jinja").write_text("{{ messages[0] }}")

    assert differences(base_fingerprint(folder), ours) == [
        "base_config_sha256",
        "chat_template_sha256",
    ]
    assert differences({**ours, "tenant": "acme"}, ours) == []
    assert differences({}, ours) == list(FINGERPRINT)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_says_which_file_a_folder_lacks(tmp_path: Path, name: str) -> None:
    folder = model_folder(tmp_path / "base")
    (folder / name).unlink()

    with pytest.raises(FileNotFoundError, match=name):
        base_fingerprint(folder)


def test_says_which_file_is_not_json(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "base")
    (folder / "config.json").write_text("{")

    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        base_fingerprint(folder)
