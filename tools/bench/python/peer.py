"""A peer in Python: one side of a benchmark, in a process of its own (tools/bench/harness/side.mjs starts it).

`peer.py MODULE CASE`: MODULE, a file beside this one, has `prepare(case)`, which returns the side's name, the
numbers that must agree with the other sides', and the function to time. The first line on standard output says
the name with its versions; every line {"calls": n} on standard input is answered with the seconds n calls took.

With "choose" in the case, the module's `variants` are timed instead, and the first line names the fastest.
"""

import importlib
import json
import os
import resource
import sys
import time


def say(message):
    times = os.times()
    print(json.dumps({**message, "cpu": sum(times[:4])}), flush=True)


def peak_megabytes():
    """The largest resident set. Linux's getrusage counter starts with the parent's, VmHWM does not."""
    if sys.platform == "linux":
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def seconds(call, calls):
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


def fastest(module, case):
    """The variant whose best of three calls is shortest; a variant that does not run here is left out.

    Where a call takes most of a minute, the case says what smaller work to choose by ("choosing"), and of how many calls.
    """
    if len(module.variants) == 1:
        return module.variants[0]
    times, problem = {}, None
    smaller = case.get("choosing", {})
    for variant in module.variants:
        try:
            _, _, call = module.prepare({**case, **smaller, "variant": variant})
            times[variant] = min(seconds(call, 1) for _ in range(smaller.get("calls", 3)))
        except RuntimeError as error:
            problem = f"{variant}: {str(error).splitlines()[0]}"
    if not times:
        raise SystemExit(f"no variant runs: {problem}")
    return min(times, key=times.get)


def main():
    name, case = sys.argv[1], json.loads(sys.argv[2])
    try:
        import torch
    except ImportError as error:
        say({"why": f"Python has no torch: {error}"})
        return
    torch.set_num_threads(case["threads"])
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        say({"why": f"Python lacks a package: {error}"})
        return
    if case.get("choose"):
        say({"name": name, "check": [], "choice": fastest(module, case)})
        return
    what, check, call = module.prepare(case)
    say({"name": f"{what}, torch {torch.__version__}, {torch.get_num_threads()} threads", "check": check})
    for line in sys.stdin:
        taken = seconds(call, json.loads(line)["calls"])
        say({"seconds": taken, "megabytes": peak_megabytes()})


main()
