"""Wrong environment variables are one sentence each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.cli import main as cli
from jobs.settings import Settings, misspelt, sentence_of
from tests.ports import free_port

ROOT = Path(__file__).parents[3]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["shelfwise", *arguments])
    try:
        cli.main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HOME", "/dev/null/x", "/dev/null is no directory, so /dev/null/x cannot be one; choose another directory"),
        ("HOME", "/dev/null", "/dev/null is no directory"),
        ("HOME", "x" * 300, "cannot be used (File name too long); choose another directory"),
        ("HOME", "", "it is empty, where a directory or the URI of a store was expected; name one, or unset it"),
        ("HOME", " ", "it is empty"),
        ("LOCAL_DIR", "", "it is empty"),
        ("LOCAL_DIR", "/dev/null/x", "/dev/null is no directory"),
        ("RELEASE_DIR", "", "it is empty"),
        ("SPARK_CONF", "{", "it is not JSON (Expecting property name enclosed in double quotes: line 1 column 2"),
        ("SPARK_CONF", "[1]", 'it is list, where a JSON object was expected; write it as {"spark.executor.memory"'),
        ("SPARK_CONF", "", "it is not JSON"),
        ("SPARK_CONF", '{"spark.x": null}', "'spark.x' has no text as its value"),
        ("SPARK_CONF", "[" * 100_000, "it is nested too deep"),
        ("MAX_MEGAPIXELS", "0", "Input should be greater than or equal to 1"),
        ("MAX_MEGAPIXELS", "1001", "Input should be less than or equal to 1000"),
        ("MAX_MEGAPIXELS", "many", "Input should be a valid integer"),
        ("MAX_MEGAPIXELS", "nan", "Input should be a valid integer"),
        ("PRODUCTS_COLUMNS", "product_id=sku", "it is not JSON"),
        ("PRODUCTS_COLUMNS", '{"product_id": 1}', "'product_id' names no column of the table"),
        ("PRODUCTS_COLUMNS", '{"image_uri": ["a", null]}', "'image_uri' names no column of the table"),
        ("PRODUCTS_COLUMNS", '{"image_uri": []}', "'image_uri' names no column of the table"),
    ],
)
def test_a_wrong_setting_was_a_traceback_or_the_working_directory(
    name: str,
    value: str,
    sentence: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(f"SHELFWISE_{name}", value)
    assert run(monkeypatch, "runs", "list") == 2
    message = capsys.readouterr().err
    assert message.startswith(f"shelfwise: SHELFWISE_{name}: ")
    assert sentence in message
    assert len(message.splitlines()) == 1
    assert not home.exists()


def test_spark_properties_may_be_numbers_and_booleans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFWISE_SPARK_CONF", '{"spark.cores.max": 8, "spark.speculation": true, "spark.a": "b"}')
    assert Settings().spark_conf == {"spark.cores.max": "8", "spark.speculation": "true", "spark.a": "b"}


def test_a_password_in_a_setting_that_is_no_json_is_not_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELFWISE_SPARK_CONF", '{"spark.executorEnv.PGPASSWORD": "geheim"')
    assert run(monkeypatch, "runs", "list") == 2
    assert "geheim" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPARK_CONF", '{"spark.executorEnv.PGPASSWORD": "geheim"'),
        ("HTTP_HEADERS", '{"cdn.shop.example": {"Authorization": "geheim"}'),
        ("PRODUCTS_COLUMNS", '{"product_id": {"geheim": 1}}'),
    ],
)
def test_the_error_of_a_setting_repeated_its_password(
    name: str, value: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SHELFWISE_{name}", value)
    with pytest.raises(ValidationError) as raised:
        Settings()
    assert "geheim" not in f"{raised.value}{raised.value!r}"
    assert sentence_of(raised.value).startswith(f"SHELFWISE_{name}: ")


def test_make_airflow_repeated_a_password_and_passed_over_misspelt_settings(home: Path) -> None:
    headers = '{"cdn.shop.example": {"Authorization": "geheim"}'
    environment = os.environ | {"SHELFWISE_HTTP_HEADERS": headers, "SHELFWISE_HOMES": str(home)}
    command = [sys.executable, str(ROOT / ".ci" / "local_airflow.py"), "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 2
    misspelt_one, wrong = done.stderr.splitlines()
    assert misspelt_one == (
        "make airflow: SHELFWISE_HOMES is no setting and does nothing; did you mean SHELFWISE_HOME?"
    )
    assert wrong.startswith("make airflow: SHELFWISE_HTTP_HEADERS: it is not JSON")
    assert "geheim" not in done.stdout + done.stderr


def test_a_misspelt_setting_was_ignored_in_silence(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHELFWISE_DATABSE_URL", "postgresql://shop")
    monkeypatch.setenv("SHELFWISE_ZZZ", "1")
    run(monkeypatch, "query")
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [
        "SHELFWISE_DATABSE_URL is no setting and does nothing; did you mean SHELFWISE_DATABASE_URL?",
        "SHELFWISE_ZZZ is no setting and does nothing",
    ]


def test_every_variable_of_this_project_is_known() -> None:
    folders = [ROOT / name for name in ("jobs", "models", "sql", "dags", "tests", ".ci")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".sh")]
    files += [ROOT / "README.md", ROOT / "Makefile", ROOT / "CONTRIBUTING.md"]
    texts = [path.read_text(encoding="utf-8") for path in files if path != Path(__file__)]
    names = {name for text in texts for name in re.findall(r"(?<![A-Z_])SHELFWISE_[A-Z_]+[A-Z]\b", text)}
    assert len(names) > 20
    assert misspelt(names - {"SHELFWISE_FASH"}) == [], "one of the names above stands for the beginning of another"
    assert misspelt(["SHELFWISE_HOMES", "shelfwise_home", "PATH", "SHELFWISE_TEST_ALL"]) == [
        "SHELFWISE_HOMES is no setting and does nothing; did you mean SHELFWISE_HOME?"
    ]


def test_the_command_line_makes_private_files_and_gives_the_umask_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def group(**_: object) -> None:
        seen.append(os.umask(0o077))
        os.umask(seen[-1])

    monkeypatch.setattr(cli, "main_group", group)
    before = os.umask(0o022)
    try:
        run(monkeypatch)
        monkeypatch.setenv("SHELFWISE_SHARED", "1")
        run(monkeypatch)
        seen.append(os.umask(0o022))
    finally:
        os.umask(before)
    assert seen == [0o077, 0o022, 0o022]
