"""Prune, the start page: a recipe on the left, what it will give on the right, one button to start it."""

import streamlit as st

from engine import jobs
from engine.config import RunConfig
from engine.errors import CheckpointError, ChhatniError, ConfigError, DataError
from engine.paper import table_settings
from engine.store import RunStore
from pages.shared import form, recipe
from pages.shared.first_run import first_config, offer_first_run
from pages.shared.language import say
from pages.shared.presenter import shortcut
from pages.shared.queue import watch_queue
from pages.shared.studio import complain, finished, run_label, show_error, store_and_runs
from pages.shared.sweep_form import Settings, choose_sweep

REFUSED = "refused"  # what the last check before a start has refused: the config and its errors by field


def problems(config: RunConfig) -> dict[str, str]:
    """Check data and model before a run is made; return complaints by field, the field "" standing for the whole."""
    from engine.before import preflight  # it imports datasets, which the page must not wait for when it opens

    try:
        preflight.check(config, store.home)
    except ConfigError as error:
        return error.fields
    except DataError as error:
        return {"data.source": str(error)}
    except CheckpointError as error:
        return {"model.base": str(error)}
    except ChhatniError as error:
        return {"": str(error)}
    return {}


def refuse(config: RunConfig, found: dict[str, str]) -> None:
    """Keep complaints for the next drawing of the form, where they stand beside their fields."""
    st.session_state[REFUSED] = (config, found)
    st.rerun()


def start(store: RunStore, config: RunConfig) -> None:
    """Check, start one run and show it."""
    with st.spinner(say("Checking data and model")):
        found = problems(config)
    if found:
        refuse(config, found)
    try:
        run = jobs.start(store, config)
    except ChhatniError as error:
        refuse(config, {"": str(error)})
        return
    st.switch_page("pages/live.py", query_params={"run": run.run_id})


def queue(store: RunStore, config: RunConfig, settings: Settings) -> None:
    """Check, queue one run a setting with everything else as in the form, and show the first."""
    with st.spinner(say("Checking data and model")):
        found = problems(config)
    if found:
        refuse(config, found)
    started: list[str] = []
    for setting in settings:
        values = config.model_dump()
        for part, changes in setting.items():
            values[part] = values[part] | changes
        try:
            each = RunConfig.parse(values)
            apart = each.recipe + (f", seed {each.training.seed}" if "training" in setting else "")
            named = each.model_copy(update={"name": f"{config.name}, {apart}"[:120] if config.name else ""})
            started.append(jobs.start(store, named).run_id)
        except ChhatniError as error:
            said = say(
                "{count} of {total} runs were queued, then: {error}",
                count=len(started),
                total=len(settings),
                error=error,
            )
            refuse(config, {"": said})
            return
    st.switch_page("pages/live.py", query_params={"run": started[0]})


store, runs = store_and_runs(linked=[st.session_state.get("base", "")])

done = finished(runs)
bases = {run.run_id: say("Run: {label}", label=run_label(run)) for run, result in done}
recipe.ensure_filled(list(bases))
if "clone" in st.query_params:
    try:
        recipe.fill(store.get(st.query_params["clone"]).config, list(bases))
    except ChhatniError as trouble:
        show_error(trouble)
    del st.query_params["clone"]
if "clone_replay" in st.query_params:
    from pages.shared import player  # it draws charts, which the page must not wait for when it opens

    recording = player.load(st.query_params["clone_replay"])
    if isinstance(recording, str):
        st.warning(recording, icon=":material/help:")
    else:
        recipe.fill(recording.header.config, list(bases))
    del st.query_params["clone_replay"]

config, errors = form.form_errors()
refused, complaints = st.session_state.get(REFUSED, (None, {}))
if config is not None and refused == config:
    errors = complaints

st.title(say("Prune"), anchor=False)
watch_queue(store, any(run.state == "queued" for run in runs))
if not runs:
    first = first_config()
    if offer_first_run(complaints if refused == first else {}):
        start(store, first)
left, right = st.columns([0.4, 0.6], gap="large")
with left:
    form.choose_recipe(errors, bases, store.home)
    with st.container(horizontal=True):
        go = st.button(
            say("Start"),
            type="primary",
            icon=":material/play_arrow:",
            disabled=config is None,
            shortcut=shortcut("S"),
            key="start",
        )
        table = st.button(
            say("Queue the paper's table"),
            icon=":material/queue:",
            disabled=config is None,
            help=say(
                "Seven runs, one after another: baseline, 25, 50 and 75 %, each level without and with distillation, all by "
                "the paper's method, block movement. Dataset, base model and the rest are as set here."
            ),
        )
        sweep = choose_sweep(config)
    complain(errors, "")
    if config is None:
        wrong = say("Something above or under Advanced is not possible yet.")
        st.markdown(f":small[:red[:material/error: {wrong}]]")
    form.choose_rest(errors)
with right:
    if config is None:
        st.info(say("The preview comes back when the settings are possible."), icon=":material/help:")
    else:
        from pages.shared.preview import show_preview  # it draws: the form stands there meanwhile

        show_preview(config, [run for run, _ in done], store.home)
if config is not None and go:
    start(store, config)
if config is not None and table:
    queue(store, config, table_settings())
if config is not None and sweep:
    queue(store, config, sweep)
if not any(run.active for run in runs):  # its imports would disturb the figures of a run that is being measured
    jobs.keep_ready(store.home)
