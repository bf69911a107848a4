"""What a request carries that its bytes do not bound: pictures, files, server-side tools.

Text is never more tokens than bytes. A picture by its address is a few bytes
and thousands of tokens, and a tool that runs at the provider reads as much as
the model's context window takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NODES_MAX = 100_000
"""A body with more values than this is not looked through: anything may be in it."""

_IMAGES = frozenset(("image", "image_url", "input_image", "image_file"))
_FILES = frozenset(
    (
        "file",
        "input_file",
        "document",
        "document_url",
        "video",
        "video_url",
        "input_video",
        "audio_url",
        "container_upload",
        "item_reference",
    )
)
_TEXT_SOURCES = frozenset(("text", "content"))
# What the provider adds to the prompt from its own store.
_STORED = (
    "cachedContent",
    "cached_content",
    "previous_response_id",
    "previous_interaction_id",
    "conversation",
    "conversation_id",
    "agent_id",
)
_SERVER_FIELDS = (
    "plugins",
    "web_search_options",
    "search_parameters",
    "mcp_servers",
    "connectors",
    "agent",
)
_CLIENT_TOOLS = frozenset(
    (
        "function",
        "custom",
        "namespace",
        "local_shell",
        "shell",
        "apply_patch",
        "computer",
        "computer_use_preview",
        "tool_search",
    )
)
_CLIENT_TOOL_STARTS = ("bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_")
_DECLARED = frozenset(
    (
        "functionDeclarations",
        "function_declarations",
        "name",
        "function",
        "toolSpec",
        "cachePoint",
        "input_schema",
        "parameters",
        "parameter_definitions",
        "description",
        "response",
        "strict",
        "cache_control",
    )
)
# Bedrock takes a prompt from its own store for a model.
_STORED_PROMPT = ":prompt/"
_SEARCHING_MODELS = (
    "compound",
    "sonar",
    "search-preview",
    "search-api",
    ":online",
    "deep-research",
)


@dataclass(slots=True)
class Content:
    """What was found. `images` is their number; `text_bytes` leaves inline media out."""

    images: int = 0
    text_bytes: int = 0
    audio: bool = False
    # Something that only the model's context window bounds.
    unbounded: bool = False
    tools: bool = False
    # A search among the tools that the body lists, after which the prompt is read again.
    tool_search: bool = False
    server_tools: bool = False


def content_of(body: Mapping[str, Any] | None, model: str | None) -> Content:
    """Look through a parsed body, in time that `NODES_MAX` bounds."""
    content = Content()
    if any(name in (model or "") for name in _SEARCHING_MODELS):
        content.server_tools = True
    if body is None:
        return content
    if any(body.get(key) for key in _STORED) or isinstance(body.get("prompt"), Mapping):
        content.unbounded = True
    # An empty object asks for the tool as it comes; an empty list asks for none.
    if any(body.get(key) or isinstance(body.get(key), Mapping) for key in _SERVER_FIELDS):
        content.server_tools = True
    if _STORED_PROMPT in (model or ""):
        content.unbounded = True
    _tools(body, content)
    _walk(body, content)
    content.unbounded = content.unbounded or content.server_tools
    return content


def _tools(body: Mapping[str, Any], content: Content) -> None:
    config = body.get("toolConfig")
    listed = config.get("tools") if isinstance(config, Mapping) else None
    for tools in (body.get("tools"), listed):
        for tool in tools if isinstance(tools, list) else []:
            content.tools = True
            if not isinstance(tool, Mapping):
                continue
            content.tool_search |= str(tool.get("type")).startswith("tool_search")
            content.server_tools |= not _client_side(tool)


def _client_side(tool: Mapping[str, Any]) -> bool:
    kind = tool.get("type")
    if isinstance(kind, str):
        return kind in _CLIENT_TOOLS or kind.startswith(_CLIENT_TOOL_STARTS)
    return not tool.keys().isdisjoint(_DECLARED)


def _walk(body: Mapping[str, Any], content: Content) -> None:
    # A stack and not recursion: a body nests as deep as its sender likes.
    waiting: list[object] = [body]
    left = NODES_MAX
    while waiting:
        left -= 1
        if left < 0:
            content.unbounded = True
            return
        value = waiting.pop()
        if isinstance(value, str):
            if not value.startswith("data:"):
                content.text_bytes += len(value) if value.isascii() else len(value.encode())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, Mapping) and not _media(value, content):
            waiting.extend(value.keys())
            waiting.extend(value.values())


def _media(value: Mapping[str, Any], content: Content) -> bool:
    """Count a picture, sound or file; True where there is nothing else to see in `value`."""
    kind = value.get("type")
    if kind in _IMAGES:
        content.images += 1
        return True
    if kind in _FILES:
        source = value.get("source")
        if isinstance(source, Mapping) and source.get("type") in _TEXT_SOURCES:
            return False
        content.unbounded = True
        return True
    if kind == "input_audio":
        content.audio = True
        content.unbounded = content.unbounded or not _inline(value)
        return True
    sound = value.get("audio")
    if isinstance(sound, Mapping) and "id" in sound:
        # What the model said before, by its id: it is heard again.
        content.audio = content.unbounded = True
        return False
    images = value.get("images")
    if isinstance(images, list):
        content.images += len(images)
    return _google(value, content) or _bedrock(value, content)


def _inline(value: Mapping[str, Any]) -> bool:
    sound = value.get("input_audio")
    data = sound.get("data") if isinstance(sound, Mapping) else sound
    return isinstance(data, str) and not data.startswith("http")


def _google(value: Mapping[str, Any], content: Content) -> bool:
    for key in ("inlineData", "inline_data", "fileData", "file_data"):
        part = value.get(key)
        if not isinstance(part, Mapping):
            continue
        kind = str(part.get("mimeType") or part.get("mime_type") or "")
        if kind.startswith("image/"):
            content.images += 1
        elif kind.startswith("audio/") and key.startswith("inline"):
            # Thirty-two tokens a second, fewer than its bytes at any rate.
            content.audio = True
        else:
            content.audio = content.audio or kind.startswith("audio/")
            content.unbounded = True
        return True
    return False


def _bedrock(value: Mapping[str, Any], content: Content) -> bool:
    for key in ("image", "document", "video", "audio"):
        part = value.get(key)
        if not isinstance(part, Mapping) or "source" not in part:
            continue
        if key == "image":
            content.images += 1
        else:
            content.audio = content.audio or key == "audio"
            content.unbounded = True
        return True
    return False
