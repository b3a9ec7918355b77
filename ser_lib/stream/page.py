"""The page of `ser demo`: record or drop a file, see its answer, and teach the model a voice.

It is made with Gradio. What of it would ask another machine is off (`_OFF`, `serve`), and a content security policy
lets the browser talk to this server alone. Recordings lie in a temporary folder that goes when the process ends.
"""

import os
import tempfile
from typing import Any

from ser_lib.core.errors import ParameterError
from ser_lib.model.prediction import UNSURE_BELOW
from ser_lib.model.voices import Voice, check_name
from ser_lib.stream.teach import NOT_THIS_MODEL, Lesson
from ser_lib.stream.visit import Desk, Models, task_html, tell

_OFF = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
"""Environment of Gradio, which reads it when it is imported, and later."""
os.environ |= _OFF

import gradio as gr  # noqa: E402 - see `_OFF`
from starlette.middleware import Middleware  # noqa: E402
from starlette.types import ASGIApp, Message, Receive, Scope, Send  # noqa: E402

HOST = "127.0.0.1"
_NOBODY = "anybody's"
_PATIENCE = 10.0
"""Seconds that an answer is waited for when the page ends."""
_COLUMN = 320
"""Pixels below which columns stand under each other."""
_POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; base-uri 'self'"
"""Content security policy; Gradio's own scripts need to evaluate templates."""
_FONT = ("ui-sans-serif", "system-ui", "sans-serif")
"""The reader's own: nothing is fetched for it."""
_CSS = """
.told p { margin: 0 0 0.4em; } .told .headline { font-size: 1.5em; font-weight: 600; }
.told table, .told tr, .told td { border: none !important; } .told td { padding: 0.1em 1.2em 0.1em 0; }
.told table { margin: 0 0 0.6em; }
.shown figure { margin: 0 0 1.2em; } .shown img { width: 100%; background: white; }
"""


def make_page(models: Models, *, keep_voices: bool, unsure_below: float = UNSURE_BELOW) -> gr.Blocks:
    """Page with a choice of models, of which the first is chosen; see `visit.Desk`."""
    desk = Desk(models, keep_voices=keep_voices, unsure_below=unsure_below)
    sounds = tempfile.TemporaryDirectory(prefix="ser_lib-")
    os.environ["GRADIO_TEMP_DIR"] = sounds.name  # where whatever is made from here on keeps what is recorded
    with gr.Blocks(title="ser_lib", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        taught = gr.State([])
        gr.Markdown("# Which emotion does the model hear?")
        limits = gr.Markdown(desk.limits(next(iter(models))))
        with gr.Row():
            model = gr.Dropdown(list(models), label="Model", min_width=_COLUMN)
            choices = _choices(desk, next(iter(models)), [])
            voice = gr.Dropdown(choices, value="", label="Whose voice it is", min_width=_COLUMN)
        with gr.Tab("Try it"):
            show = _lay_out_answer(desk, model, voice, taught)
        with gr.Tab("Teach it your voice"):
            begin = _lay_out_lesson(desk, model, voice, taught, show)
        chosen = model.input(desk.limits, model, limits)
        chosen.then(lambda model, taught: _offer(desk, model, taught, ""), [model, taught], voice).then(**show)
        for event in (chosen, page.load(**begin)):
            event.then(desk.warm_up, model, show_progress="hidden")
        chosen.then(**begin)
    page.desk, page.sounds = desk, sounds  # they go with the page
    return page


def _choices(desk: Desk, model: str, taught: list[Voice]) -> list[tuple[str, str]]:
    return [(_NOBODY, ""), *((name, name) for name in desk.voices(model, taught))]


def _offer(desk: Desk, model: str, taught: list[Voice], name: str) -> gr.Dropdown:
    return gr.Dropdown(_choices(desk, model, taught), value=name)


def _lay_out_answer(desk: Desk, model: gr.Dropdown, voice: gr.Dropdown, taught: gr.State) -> dict[str, Any]:
    """Lay out the first tab; the event that answers what is recorded."""
    with gr.Row():
        with gr.Column(min_width=_COLUMN):
            sound = gr.Audio(label="Record, or drop a file", type="filepath", buttons=[])
            told = gr.HTML(elem_classes="told")
            label = gr.Label(label="Confidence", show_heading=False, visible=False)
        with gr.Column(min_width=_COLUMN):
            shown = gr.HTML(elem_classes="shown")

    def answer(
        model: str,
        name: str,
        taught: list[Voice],
        path: str | None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - by which Gradio knows it
    ) -> tuple[str, gr.Label, str]:
        if path is None:
            return "", gr.Label(visible=False), ""
        text, probabilities, pictures = desk.answer(model, name, taught, path, on_progress=progress)
        return text, gr.Label(probabilities or None, visible=bool(probabilities)), pictures

    show = {
        "fn": answer,
        "inputs": [model, voice, taught, sound],
        "outputs": [told, label, shown],
        "show_progress_on": told,
    }
    gr.on([sound.change, voice.input], **show)
    return show


def _lay_out_lesson(
    desk: Desk, model: gr.Dropdown, voice: gr.Dropdown, taught: gr.State, show: dict[str, Any]
) -> dict[str, Any]:
    """Lay out the second tab; the event that begins a lesson."""
    lesson, n_learnt = gr.State(None), gr.State(0)
    not_this = gr.Markdown(NOT_THIS_MODEL, visible=False)
    with gr.Column(visible=False) as column:
        gr.Markdown("It learns most from two sentences of each emotion: a few minutes. No sound is kept.")
        name = gr.Textbox("me", label="Name", max_length=40)
        task = gr.HTML(elem_classes="told")
        sound = gr.Audio(label="Your voice", sources=["microphone", "upload"], type="filepath", buttons=[])
        heard = gr.HTML(elem_classes="told")
        with gr.Row():
            skip, go_on = gr.Button("Skip"), gr.Button("Next", variant="primary", interactive=False)
    brought = gr.HTML(elem_classes="told")
    again = gr.Button("Teach it another voice", visible=False)

    def begin(model: str) -> tuple:
        new = desk.lesson(model)
        told = task_html(new) if new.tasks else ""
        hidden = gr.Markdown(visible=not new.tasks), gr.Column(visible=bool(new.tasks)), gr.Button(visible=False)
        return new, told, None, "", gr.Button("Next", interactive=False), *hidden

    def hear(model: str, lesson: Lesson, path: str | None) -> tuple:
        told = "" if path is None else desk.hear(model, lesson, path)
        return lesson, told, gr.Button(interactive=lesson.number in lesson.heard)

    def advance(chosen: str, now: Lesson, called: str, voices: list[Voice], n: int, skipped: bool) -> dict[Any, Any]:
        """Go on to the next sentence, or after the last one learn; what of the page changes."""
        told, learnt = "", {}
        try:
            check_name(called)
            now.go_on(skip=skipped)
            if now.is_over:
                found, told = desk.learn(chosen, now, called)
                voices, now = [*voices, found], desk.lesson(chosen)
                learnt = {taught: voices, n_learnt: n + 1, voice: _offer(desk, chosen, voices, called)}
                learnt |= {column: gr.Column(visible=False), again: gr.Button(visible=True)}
        except ParameterError as error:
            told, now.number = tell(str(error)), now.number % len(now.tasks)
        is_last = now.number == len(now.tasks) - 1
        following = gr.Button("Learn my voice" if is_last else "Next", interactive=now.number in now.heard)
        return {lesson: now, task: task_html(now), sound: None, brought: told, go_on: following} | learnt

    sound.change(hear, [model, lesson, sound], [lesson, heard, go_on])
    for button in (skip, go_on):
        given = [model, lesson, name, taught, n_learnt, gr.State(button is skip)]
        button.click(advance, given, [lesson, task, sound, brought, go_on, taught, n_learnt, voice, column, again])
    n_learnt.change(**show)
    start: dict[str, Any] = {"fn": begin, "inputs": [model]}
    start["outputs"] = [lesson, task, sound, brought, go_on, not_this, column, again]
    again.click(**start)
    return start


def serve(page: gr.Blocks, *, host: str = HOST, port: int | None = None, **options: Any) -> str:
    """Serve a page in threads of this process, and return its address.

    Parameters
    ----------
    page : gr.Blocks
    host : str
        Address that it listens at.
    port : int, optional
        By default the first from 7860 on that is free.
    **options
        More for `gr.Blocks.launch`.

    Raises
    ------
    ParameterError
        If it cannot listen there.
    """
    own = os.environ.get("NO_PROXY", "")
    os.environ["NO_PROXY"] = f"{own},127.0.0.1,localhost"  # Gradio asks its own server whether it is there
    look: dict[str, Any] = {
        "theme": gr.themes.Default(primary_hue="blue", font=_FONT, font_mono=_FONT),
        "css": _CSS,
        "footer_links": [],
    }
    closed: dict[str, Any] = {"share": False, "ssr_mode": False, "mcp_server": False, "quiet": True}
    closed |= {"app_kwargs": {"middleware": [Middleware(_Closed)]}, "prevent_thread_lock": True}
    # Once its server has answered, Gradio asks it again, for 3 s, and after that demands a public link
    closed["_frontend"] = False
    try:
        _, address, _ = page.launch(server_name=host, server_port=port, **look, **closed, **options)
    except OSError:
        where = f"{host}, port {port}" if port else host
        raise ParameterError(
            f"The page must have an address of this machine and a port that is free. Got {where}."
        ) from None
    return address


def stop(page: Any) -> None:
    """Stop serving a page of `make_page`, wait for what is being computed, and delete what was recorded."""
    page.close(verbose=False)
    page.desk.end(_PATIENCE)
    page.sounds.cleanup()


class _Closed:
    """Adds the policy to each answer of the server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY)]
            await send(message)

        await self._app(scope, receive, send_with_policy)
