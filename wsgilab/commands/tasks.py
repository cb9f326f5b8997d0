"""The lab's tasks: options in, one call of `wsgilab.commands`, and what it says. What they have in common is in
`wsgilab.commands.front`. Invoke has them in a checkout, by tasks.py; `program` is the command of an installed lab."""

from collections.abc import Mapping
from dataclasses import replace

from invoke.collection import Collection
from invoke.context import Context

from wsgilab import commands
from wsgilab.commands.front import LabProgram, task
from wsgilab.model.errors import TrialsFailed
from wsgilab.model.text import called

SHARED = {
    "app": "your own application: its file, such as shop.yaml, or its entry, such as shop.wsgi:app",
    "source": "the folder that --app's entry is imported from (default: the current one)",
    "get": "what users ask --app's entry for (default: /)",
    "catalogue": "a file with more servers, your own, such as mine.yaml; see docs/applications.md",
    "runtime": "compose or local (default: compose where an engine answers)",
    "site": "a file of the machines to run on, such as sites.yaml (default: this machine); see docs/cloud.md",
    "p95-ms": "95 of 100 requests must be answered within so many milliseconds",
    "memory-mb": "the whole server must keep to so many megabytes",
    "seed": "orders the trials; the same seed gives the same order",
    "share-generator": "let servers take the generator's core too, where there are no others",
    "generator-cores": "how many cores the generator has, a Locust worker on each (default: 1)",
    "resume": "go on with this run (its id, or latest) where it stopped",
    "watch": "show the run in the web UI while it is under way",
    "port": "where the web UI is to be, with --watch (default: 8089; 0: any that is free)",
    "run": "a run's id, a part of it that no other has, or its folder (default: the latest)",
}
"""Options of several tasks, and what they are."""


def shared(*options: str) -> Mapping[str, str]:
    """The help of these options, for tasks in which it is as in any."""
    return {option: SHARED[option] for option in options}


JUDGED = {
    **shared("runtime", "site"),
    "blocks": "passes over every cell, in place of the file's number",
    **shared("seed", "resume"),
    "run": "judge this stored run (its id, or latest) again, and measure nothing",
}
"""Of the options that claims and reports have in common."""


def raise_for_failed(comparison: commands.Comparison, site: str | None) -> None:
    """A run of which trials failed is no success, whatever the others say. Raises TrialsFailed."""
    if comparison.failed:
        there = "" if site is None else f" --site {site}"
        raise TrialsFailed(
            f"{comparison.failed} of {comparison.trials} trials failed, as the warnings say; "
            f"try them again with --resume {comparison.run.id}{there}"
        )


@task(name="list", help=shared("catalogue"))
def list_(_: Context, catalogue: str | None = None) -> None:
    """Show the catalogue: every server configuration, its slots and its command."""
    console = commands.console()
    there = commands.with_catalogue(commands.workspace(), catalogue)
    console.print(commands.catalogue_table(there, console.width))


@task(help=shared("site"))
def doctor(_: Context, site: str | None = None) -> None:
    """Check this machine, or a site's: engine, Compose, cores, clocks, ports and what lies between; each with a remedy."""
    findings = commands.doctor(commands.workspace(), site)
    for finding in findings:
        print(f"{'--' if finding.remedy else 'ok'}  {finding.subject}: {finding.found}")
        if finding.remedy:
            print(f"      remedy: {finding.remedy}")


@task(
    help={
        "app": f"for {SHARED['app']}",
        **shared("source", "runtime"),
        "servers": "only these: a,b (default: all; with --app: those that a run measures)",
        **shared("catalogue", "site"),
    }
)
def build(
    _: Context,
    *,
    app: str | None = None,
    source: str | None = None,
    runtime: str | None = None,
    servers: tuple[str, ...] = (),
    catalogue: str | None = None,
    site: str | None = None,
) -> None:
    """Install what servers and backends need: images, or a virtual environment for each stack."""
    workspace = commands.with_catalogue(commands.workspace(), catalogue)
    application = commands.named_application(app, source, None)
    chosen = servers or commands.usual_servers(application, workspace)
    commands.build(chosen, runtime, site, commands.console(), workspace, application)


@task(
    help={
        "experiment": f"an experiment file (default: {commands.DEFAULT_EXPERIMENT}; with --app: {commands.APPLICATION_EXPERIMENT})",
        "app": f"measure {SHARED['app']}",
        **shared("source"),
        "get": "what users ask --app's entry or --url for (default: /)",
        "against": "compare your application with itself at this git revision, or as another application file has it, in the same run",
        "release": "run one server with each of these releases of a package, side by side: gunicorn=23.0.0,25.3.0,27.0.1",
        "fail-on": "with --against: exit with 4 where a cell is slower by that much beyond doubt: slower=5% (or cost=5%, faster=, different=)",
        "need": "with --against: exit with 5 where a cell could not have shown a difference of that much, such as 5%",
        "format": f"with --against: what is printed of the versions: {', '.join(commands.COMPARED_FORMATS)} (default: terminal)",
        "url": "measure a server of your own that runs already, such as http://127.0.0.1:5000",
        **shared("catalogue", "runtime", "site"),
        "servers": "these servers, under the experiment's conditions; any of the catalogue: a,b (default: the experiment's)",
        "cores": "numbers of cores to pin servers to, in place of the experiment's: 1,2",
        "blocks": "passes over every cell, in place of the experiment's number",
        "precision": "go on until each comparison is decided or as tight as this share, such as 0.03",
        "max-blocks": "where a run with --precision ends all the same",
        "budget": "how long trials go on, such as 125s or 3min, in place of blocks; it goes where it decides most",
        **shared("seed", "share-generator", "generator-cores", "resume", "watch", "port"),
        "verbose": "print every table at the end, and not only the answer and what was found",
    }
)
def run(
    _: Context,
    options: commands.RunOptions,
    *,
    experiment: str | None = None,
    fail_on: str | None = None,
    need: str | None = None,
    format: str = "terminal",  # noqa: A002 - the name of the option
) -> None:
    """Run an experiment and compare what it measured. Ctrl-C ends it with what is measured by then."""
    options = replace(options, file=experiment)
    found = commands.run(options, commands.console(), commands.workspace(), fail_on, need, form=format)
    raise_for_failed(found, options.site)


@task(help={"format": f"what is printed: {', '.join(commands.LISTED_FORMATS)} (default: terminal)"})
def runs(_: Context, format: str = "terminal") -> None:  # noqa: A002 - the name of the option
    """List the stored runs: when, what, where, and how each ended."""
    commands.runs(format, commands.console(), commands.workspace())


@task(
    help={
        "servers": "whose capacity: a,b (default with --app: those that a run measures)",
        "workload": "what a request does: a workload, or a request of --app (default: its only one)",
        "p95-ms": f"{SHARED['p95-ms']} of when they were due",
        "failures": "the share of requests that may fail (default: 0.1%)",
        "need": "exit with 4 where a server cannot take so many requests/s within the limit for sure, and with 5 where one may not, such as 150",
        "arrivals": "how requests are spaced: poisson or constant (default: poisson)",
        "connection": "close or keep-alive (default: close)",
        "budget": "how long trials go on, such as 5min (default: 5min, or more for many servers)",
        **shared("app", "source", "get", "catalogue"),
        "cores": "numbers of cores to pin servers to: 1,2 (default: 1)",
        **shared("runtime", "site"),
        "seed": "orders the trials and spaces the requests",
        **shared("share-generator", "generator-cores", "resume"),
    }
)
def capacity(_: Context, options: commands.RunOptions, sought: commands.Sought, *, need: float | None = None) -> None:
    """Find the highest rate of requests at which each server keeps a limit on latency."""
    found = commands.capacity(options, sought, commands.console(), commands.workspace(), need)
    raise_for_failed(found, options.site)


@task(
    help={
        **shared("run"),
        "format": f"only print it, as {', '.join(commands.FORMATS[:-1])} or {commands.FORMATS[-1]} (default: on the terminal)",
        "columns": "only print these columns of its tables: server,requests/s (with --format json: keys of its cells)",
        "verbose": "print every table, and not only the answer and what was found",
    }
)
def report(
    _: Context,
    *,
    run: str = "latest",
    format: str | None = None,  # noqa: A002 - the option's name
    columns: tuple[str, ...] = (),
    verbose: bool = False,
) -> None:
    """Compare and render a stored run again, from its folder alone."""
    commands.report(run, commands.console(), commands.workspace(), form=format, columns=columns, verbose=verbose)


@task(
    help={
        "run-a": "the run to compare with: its id, a part of it, or its folder",
        "run-b": "the run that is compared: the same, or latest",
        "fail-on": "exit with 4 where a cell is slower by that much beyond doubt: slower=5% (or faster=, different=, cost=, capacity=)",
        "need": "exit with 5 where a cell could not have shown a difference of that much, such as 5%, or was not measured",
        "format": f"what is printed: {', '.join(commands.COMPARED_FORMATS)} (default: terminal)",
    }
)
def compare(
    _: Context,
    run_a: str,
    run_b: str,
    *,
    fail_on: str | None = None,
    need: str | None = None,
    format: str = "terminal",  # noqa: A002 - the name of the option
) -> None:
    """Hold a run against an earlier one: other machines, versions or commits, with intervals and verdicts."""
    commands.compare_runs(run_a, run_b, fail_on, commands.console(), commands.workspace(), need=need, form=format)


@task(
    help={
        "workload": "only for this workload (default: all that were measured)",
        **shared("p95-ms", "memory-mb", "run"),
    }
)
def recommend(_: Context, wish: commands.Wish, *, run: str = "latest") -> None:
    """Say which of the servers measured to run, why, what the next best costs, and when the advice would change."""
    commands.recommend(wish, run, commands.console(), commands.workspace())


@task(
    help={
        "run": "a run's id or folder (default: the latest)",
        "users": "how many users, each waiting for an answer (default: as many as the run's most)",
        "rate": "requests a second on a schedule, in place of users",
        "workers": "of how many processes (default: as the server's row has it)",
        "threads": "each with how many slots (default: as the row has it)",
        "cores": "on how many cores (default: as measured)",
        "server": "a row of the run, to be had with other workers and threads",
        "workload": "what users send",
    }
)
def predict(_: Context, asked: commands.Asked, *, run: str = "latest") -> None:
    """Say what a stored run lets expect of other users, rates, workers, threads or cores, and how far that may be off."""
    commands.predict(asked, run, commands.console(), commands.workspace())


@task(name="new-experiment", help={"name": "what it is called, such as my-question"})
def new_experiment(_: Context, name: str) -> None:
    """Write a commented experiment file to begin with, NAME.yaml."""
    file = commands.new_experiment(name, commands.workspace())
    print(f"Wrote {file}. Run it with: {called('lab.run')} --experiment {file}")


@task(
    name="new-app",
    help={
        "source": "the folder of your application, such as ../shop",
        "name": "what the file is called, without .yaml (default: as the folder)",
    },
)
def new_app(_: Context, *, source: str, name: str | None = None) -> None:
    """Look at a folder, and write a commented application file for what is in it, NAME.yaml in the current folder."""
    file = commands.new_app(source, name, commands.workspace())
    print(f"Wrote {file}. Run it with: {called('lab.run')} --app {file}")


@task(
    help={
        "claims": "a file of claims of your own",
        "group": f"which of the lab's claims: {' or '.join(commands.CLAIM_GROUPS)} (default: {next(iter(commands.CLAIM_GROUPS))})",
        "only": "only these claims, by their ids: a,b",
        **JUDGED,
    }
)
def claims(_: Context, options: commands.RunOptions, *, claims: str | None = None) -> None:
    """Test what is said of Flask's concurrency or of servers: each claim confirmed, refuted or undecided, with its evidence."""
    options = replace(options, file=claims)
    raise_for_failed(commands.claims(options, commands.console(), commands.workspace()), options.site)


@task(
    help={
        "reports": "a file of reports of your own",
        "group": "only the reports of this group, ten minutes at most (default: all of them)",
        "only": "only these reports, by their ids: gunicorn-3433,cheroot-91",
        **JUDGED,
    }
)
def reports(_: Context, options: commands.RunOptions, *, reports: str | None = None) -> None:
    """Measure again what users reported in public threads: whether it is so today, since which release, and what to do."""
    options = replace(options, file=reports)
    raise_for_failed(commands.reports(options, commands.console(), commands.workspace()), options.site)


@task(
    help={
        "app": f"tune for {SHARED['app']}",
        **shared("source", "get"),
        "workload": "what a request does (default: the application's, where it has one alone)",
        "users": "so many users at a time, each waiting for its answer before it asks again",
        "rate": "in place of users: so many requests a second, on a schedule",
        "cores": "how many cores the servers have (default: all but the generator's)",
        **shared("p95-ms", "memory-mb"),
        "budget": "how long trials go on at most, such as 5min or 300s (default: 10min)",
        "space": "a file of the configurations, such as space.yaml (default: some 30 of Gunicorn, Waitress and Granian)",
        "most": "at most so many configurations, those with the fewest processes",
        **shared("catalogue", "runtime", "site", "seed", "share-generator", "generator-cores"),
        **shared("resume", "watch", "port"),
    }
)
def tune(_: Context, options: commands.RunOptions, wanted: commands.TuneOptions) -> None:
    """Find the best configuration: race some 30 of them, and print the command line to copy. Ctrl-C ends it with what is known."""
    commands.tune(options, wanted, commands.console(), commands.workspace())


@task(
    help={
        **shared("app", "source", "get"),
        "servers": "only these: a,b (default: the whole catalogue; with --app: those that a run measures)",
        **shared("catalogue"),
        "cores": "how many cores the servers are pinned to (default: 1)",
        **shared("runtime", "site"),
        "workers": SHARED["generator-cores"],
        "port": "where the web UI is to be (default: 8089; 0: any that is free)",
        "host": "the address of this machine to serve it at (default: 127.0.0.1); others than loopback take a login",
        **shared("share-generator"),
        "no-backends": "do without database and upstream service, and without the workloads that need them",
    }
)
def up(
    _: Context,
    options: commands.SessionOptions,
    *,
    app: str | None = None,
    source: str | None = None,
    get: str | None = None,
) -> None:
    """Open the lab: every server up, and Locust's web UI to load them from. It stays up until the task `down` ends it."""
    workspace = commands.workspace()
    there = commands.with_catalogue(workspace, options.catalogue)
    application = commands.named_application(app, source, get)
    usual = () if options.servers else commands.usual_servers(application, there)
    options = replace(options, application=application, usual_servers=usual)
    commands.up(options, commands.console(), workspace)


@task()
def status(_: Context) -> None:
    """Show what of the open lab is up, and where. Exits with 1 where something is not."""
    commands.status(commands.console(), commands.workspace())


@task(
    help={"server": "one of those that are up, or a backend", "follow": "go on with what it still writes, until Ctrl-C"}
)
def logs(_: Context, server: str, follow: bool = False) -> None:
    """Show what a server or backend of the open lab has written."""
    for line in commands.logs(server, commands.workspace(), follow=follow):
        print(line, flush=True)


@task(name="open")
def open_(_: Context) -> None:
    """Show the open lab's web UI in a browser."""
    print(commands.open_browser(commands.workspace()))


@task(help=shared("site"))
def down(_: Context, site: str | None = None) -> None:
    """End every process and container of this lab, on this machine and on a site's."""
    print(f"Ended {commands.down(commands.workspace(), site, print)} processes or containers.")


@task(help=shared("site"))
def clean(_: Context, site: str | None = None) -> None:
    """End everything and remove images and virtual environments, here and on a site's machines. Results stay."""
    commands.clean(commands.workspace(), site, print)
    print("Removed the lab's images and virtual environments.")


lab = Collection(
    "lab",
    *(
        list_,
        doctor,
        build,
        new_experiment,
        new_app,
        run,
        tune,
        capacity,
        runs,
        report,
        compare,
        recommend,
        predict,
        claims,
        reports,
    ),
    *(up, status, logs, open_, down, clean),
)
program = LabProgram(lab)
