"""Writes docs/api.md and docs/api.zh-CN.md from the OpenAPI document, the catalogue of errors and tools/api/.

``make api-docs`` runs it; a test sees that the documents are what it writes.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from grab_service.api import scopes
from grab_service.api.app import create_app
from grab_service.api.problems import Code
from grab_service.rehearsal import RehearsalKeys
from grab_service.settings import Settings

ROOT = Path(__file__).parents[1]
PARTS = ROOT / "tools" / "api"
ENGLISH, CHINESE = "en", "zh-CN"
PAGES = {ENGLISH: ROOT / "docs" / "api.md", CHINESE: ROOT / "docs" / "api.zh-CN.md"}

_HAN = re.compile(r"[\u4e00-\u9fff]")
_WORDS: Mapping[str, Mapping[str, str]] = {
    ENGLISH: {
        "who": "Who",
        "everybody": "everybody",
        "parameters": "Parameters",
        "body": "Body",
        "answers": "Answers",
        "errors": "| code | status | message | again? |",
    },
    CHINESE: {
        "who": "权限",
        "everybody": "公开",
        "parameters": "参数",
        "body": "正文",
        "answers": "回答",
        "errors": "| code | 状态码 | 消息 | 可否重试 |",
    },
}
_LATER = ("yes, with the same content, after `Retry-After`", "可以，内容不变，按 `Retry-After` 等待")
_AGAIN: Mapping[Code, tuple[str, str]] = {
    Code.SIGN_ERROR: ("with a new token or signature", "换新令牌或重新签名后"),
    Code.NOT_STARTED: ("from `opens_at` on", "`opens_at` 之后"),
    Code.PAUSED: ("later", "稍后"),
    Code.FUND_NOT_RECEIVED: (
        "when the money has come, with a new `out_request_no`",
        "资金到账后，换新 `out_request_no`",
    ),
    Code.TILL_LOCKED: ("when staff have let the till go on, with the same content", "工作人员解除锁定后，内容不变"),
    Code.MERCHANT_NOT_APPROVED: (
        "when the merchant is approved, with a new `out_request_no`",
        "商户审核通过后，换新 `out_request_no`",
    ),
    Code.FREQUENCY_LIMIT_EXCEED: _LATER,
    Code.SYSTEM_BUSY: _LATER,
    Code.SYSTEM_ERROR: ("once, with the same content; then ask for help", "内容不变重试一次，仍失败请求助"),
}
_NEVER = ("no", "否")


def examples() -> dict[str, Any]:
    """Return the client and the examples, in the order in which they are shown and can be run."""
    return tomllib.loads((PARTS / "examples.toml").read_text(encoding="utf-8"))


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the service."""
    with tempfile.TemporaryDirectory() as directory:
        keys = RehearsalKeys(Path(directory))
        keys.make()
        return asyncio.run(_served(create_app(Settings.model_validate({**keys.settings(), "rehearsal": True}))))


async def _served(app: ASGIApp) -> dict[str, Any]:
    """Return what an application serves as its document; it need not be started for that."""

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {}}, receive, send)  # which a server that has started it would give

    async with httpx.AsyncClient(transport=httpx.ASGITransport(with_state), base_url="http://127.0.0.1") as client:
        document: dict[str, Any] = (await client.get("/openapi.json")).raise_for_status().json()
        return document


def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Return method, path and entry of each operation by its id."""
    return {
        entry["operationId"]: (method.upper(), path, entry)
        for path, methods in openapi()["paths"].items()
        for method, entry in methods.items()
    }


def page(language: str) -> str:
    """Return the document in a language."""
    shown, found = examples(), operations()
    template = PAGES[language].name.replace("api", "page")
    text = (PARTS / template).read_text(encoding="utf-8")
    calls = "\n".join(_call(language, *found[name], each) for name, each in shown["calls"].items())
    parts = {name: shown[name].strip("\n") for name in ("setup", "sign", "client")}
    parts |= {"calls": calls.rstrip("\n"), "errors": "\n".join(_errors(language))}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], text)


def _call(language: str, method: str, path: str, entry: Mapping[str, Any], example: Mapping[str, str]) -> str:
    words = _WORDS[language]
    lines = [f"### {method} {path}", _told(entry["description"], language)]
    asked = scopes.TABLE[f"{method} {path}"]
    facts = [f"**{words['who']}**: {' / '.join(f'`{each}`' for each in sorted(asked)) or words['everybody']}"]
    named = [_parameter(each) for each in entry.get("parameters", []) if each["in"] == "query"]
    if named:
        facts.append(f"**{words['parameters']}**: {', '.join(named)}")
    body = entry.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        facts.append(f"**{words['body']}**: {', '.join(_members(body['schema']))}")
    facts.append(f"**{words['answers']}**: {'; '.join(_answers(entry['responses']))}")
    lines += [f"- {fact}" for fact in facts]
    for name, kind in (("curl", "sh"), ("python", "python")):
        lines += [f"```{kind}", example[name].strip("\n"), "```"]
    return "\n".join(lines) + "\n"


def _told(description: str, language: str) -> str:
    """Return the sentences of one language; the routes' docstrings have both."""
    sentences = re.split(r"(?<=[.。；;])\s+|\n\n", description)
    kept = [each for each in sentences if bool(_HAN.search(each)) == (language == CHINESE)]
    return (" " if language == ENGLISH else "").join(" ".join(each.split()) for each in kept)


def _parameter(entry: Mapping[str, Any]) -> str:
    return f"`{entry['name']}`" + ("" if entry.get("required") else "?")


def _members(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", [])
    for name in schema.get("properties", {}):
        yield f"`{name}`" + ("" if name in required else "?")


def _answers(responses: Mapping[str, Any]) -> Iterator[str]:
    for status, response in sorted(responses.items()):
        found = response.get("content", {}).get("application/problem+json", {}).get("examples", {})
        # What FastAPI adds for a parameter that is checked by its type names no example.
        is_malformed = status == str(Code.PARAM_ERROR.status)
        codes = sorted({each["value"]["code"] for each in found.values()}) or [Code.PARAM_ERROR.name] * is_malformed
        yield f"{status} {' '.join(f'`{code}`' for code in codes)}".strip()


def _errors(language: str) -> Iterator[str]:
    yield _WORDS[language]["errors"]
    yield "|---|---|---|---|"
    for code in Code:
        english, chinese = _AGAIN.get(code, _NEVER)
        again = english if language == ENGLISH else chinese
        yield f"| `{code.public_code}` | {code.status} | {code.chinese} · {code.english} | {again} |"


def main() -> None:
    """Write both documents."""
    for language, path in PAGES.items():
        path.write_text(page(language), encoding="utf-8")


if __name__ == "__main__":
    main()
