# SPDX-License-Identifier: Apache-2.0
"""python_bridge.py DIR: a Jupyter kernel for Python behind the unix socket DIR/socket.

A connection is one request: a line of JSON, answered by lines of JSON of which the last has the type
"done" or "refused". A client that leaves takes its code out of the queue or interrupts it. Code runs
one after the other. A kernel that ends is replaced. Says "ready" on standard output when the kernel
takes code; exits with 41 when what it needs is not installed.
"""

import asyncio
import base64
import collections
import json
import os
import re
import shutil
import signal
import sys
import time

try:
    from jupyter_client.manager import AsyncKernelManager
    import ipykernel  # noqa: F401 (only whether it is there)
except ImportError as missing:
    print(f"failed: {missing}", flush=True)
    sys.exit(41)

MOST_WAITING = 32
MOST_LINE = 8 << 20
MOST_TEXT = 64 << 10  # in one line of output
GRACE = 5.0  # from an interrupt to a new kernel
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-Z\\-_]")

FORMS = {
    "text/plain": "text", "text/html": "html", "text/markdown": "markdown", "text/latex": "latex",
    "image/png": "png", "image/jpeg": "jpeg", "image/svg+xml": "svg", "application/pdf": "pdf",
    "application/json": "json", "application/geo+json": "json",
    "application/javascript": "javascript", "text/javascript": "javascript",
}  # fmt: skip
CHARTS = re.compile(r"application/vnd\.(plotly\.v1|vegalite\.v\d+|vega\.v\d+)\+json$")


def line_of(message):
    text = json.dumps(message, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"


def forms_of(data):
    forms = {}
    for mime, value in data.items():
        form = "chart" if CHARTS.match(mime) else FORMS.get(mime)
        if form is None:
            continue
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = "".join(value)
        if form in ("json", "chart"):
            value = json.dumps(value)
        elif form in ("png", "jpeg", "pdf"):
            value = "".join(str(value).split())
            try:
                base64.b64decode(value, validate=True)
            except ValueError:
                continue
        forms[form] = str(value)
    return forms


class Run:
    """One piece of code: what it says, up to a number of bytes, on its way to the client."""

    def __init__(self, budget):
        self.budget = budget
        self.lines = collections.deque()
        self.news = asyncio.Event()
        self.truncated = self.failed = False
        self.begun, self.idle = asyncio.Event(), asyncio.Event()
        self.id = None

    def put(self, message):
        line = line_of(message)
        if len(line) > MOST_LINE or len(line) > self.budget:
            self.truncated = True
            return
        self.budget -= len(line)
        self.lines.append(line)
        self.news.set()

    def text(self, stream, text):
        for at in range(0, len(text), MOST_TEXT):
            piece = text[at : at + MOST_TEXT]
            room = max(0, self.budget - 64)  # the beginning of what does not fit says something
            self.truncated |= len(piece) > room
            if room == 0:
                return
            self.put({"type": stream, "text": piece[:room]})

    def result(self, data, is_value):
        forms = forms_of(data)
        while forms and sum(map(len, forms.values())) > min(MOST_LINE - 1024, self.budget):
            self.truncated = True
            del forms[max(forms, key=lambda form: len(forms[form]))]
        if forms:
            self.put({"type": "result", "value": is_value, "forms": forms})

    def error(self, name, value, traceback=()):
        self.failed = True
        # The end of a long one says most, and an error is told whatever came before.
        lines = [ESCAPES.sub("", part)[:MOST_TEXT].replace("\0", "\ufffd") for part in traceback][-64:]
        self.budget = max(self.budget, 8 * MOST_TEXT)
        message = {"type": "error", "name": name[:256], "text": value[:MOST_TEXT]}
        while len(line_of(lines)) > 4 * MOST_TEXT:
            del lines[0]
        self.put(message | {"traceback": lines})

    def take(self, message):
        """A message of the kernel's."""
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            self.text("stderr" if content.get("name") == "stderr" else "stdout", content["text"])
        elif kind in ("execute_result", "display_data", "update_display_data"):
            self.result(content.get("data", {}), kind == "execute_result")
        elif kind == "error":
            self.error(content["ename"], content["evalue"], content["traceback"])
        elif kind == "execute_input":
            self.begun.set()
        elif kind == "status" and content["execution_state"] == "idle":
            self.idle.set()

    async def send(self, writer):
        while True:
            await self.news.wait()
            self.news.clear()
            while self.lines:
                writer.write(self.lines.popleft())
                await writer.drain()


class Kernel:
    def __init__(self, folder, number):
        self.manager = AsyncKernelManager(transport="ipc", ip=f"{folder}/k{number}")
        self.manager.connection_file = f"{folder}/k{number}.json"
        self.run = self.pid = None

    async def start(self):
        await self.manager.start_kernel()
        self.pid = self.manager.provisioner.pid
        self.client = self.manager.client()
        self.client.start_channels()
        await self.client.wait_for_ready(timeout=60)
        self.pump = asyncio.create_task(self.pump_output())
        # Output goes to who has subscribed, which may take longer than an answer.
        for _ in range(40):
            self.run = Run(0)
            self.run.id = self.client.kernel_info()
            try:
                await asyncio.wait_for(self.run.idle.wait(), 0.25)
                break
            except asyncio.TimeoutError:
                pass

    async def pump_output(self):
        # Whatever the client does: a kernel drops what is not taken.
        while True:
            message = await self.client.get_iopub_msg(timeout=None)
            run = self.run
            if run is not None and message["parent_header"].get("msg_id") == run.id:
                run.take(message)

    async def execute(self, code, run, silent=False):
        """The kernel's reply."""
        options = {"allow_stdin": False, "stop_on_error": False}
        run.id = self.client.execute(code, silent=silent, store_history=not silent, **options)
        self.run = run
        while True:
            reply = await self.client.get_shell_msg(timeout=None)
            if reply["parent_header"].get("msg_id") == run.id:
                break
        try:
            await asyncio.wait_for(run.idle.wait(), 2)
        except asyncio.TimeoutError:
            run.truncated = True
        return reply["content"]

    async def interrupt(self):
        # A kernel that has not begun would not notice.
        if self.run is not None:
            await asyncio.wait({asyncio.ensure_future(self.run.begun.wait())}, timeout=1)
        await self.manager.interrupt_kernel()

    def exit_status(self):
        process = self.manager.provisioner.process
        status = process.poll() if process is not None else None
        if status is None or status >= 0:
            return "by itself" if status is None else f"with exit code {status}"
        why = ", perhaps for want of memory" if status == -9 else ""
        return f"by {signal.Signals(-status).name}{why}"

    async def end(self):
        if hasattr(self, "pump"):
            self.pump.cancel()
            self.client.stop_channels()
        end_session(self.pid)
        try:
            await self.manager.shutdown_kernel(now=True)
        except Exception as error:  # it is gone, which is what was wanted
            print(f"ending a kernel: {error}", file=sys.stderr)


def end_session(leader):
    """Ends what the kernel has started: its session is its own."""
    for entry in os.listdir("/proc") if leader else ():
        try:
            if entry.isdigit() and int(entry) != os.getpid() and os.getsid(int(entry)) == leader:
                os.kill(int(entry), signal.SIGKILL)
        except OSError:
            pass


class Bridge:
    def __init__(self, folder):
        self.folder = folder
        self.kernel = None
        self.turn, self.starting = asyncio.Lock(), asyncio.Lock()
        self.kernels = self.waiting = self.count = 0
        self.running = False
        self.created = self.used = time.time()
        self.cwd = os.getcwd()
        self.restarted = False  # and no run has been told

    async def replace(self, kernel):
        """A new kernel in the place of this one, unless somebody else has seen to that."""
        async with self.starting:
            if self.kernel is not kernel:
                return
            self.kernels, self.count = self.kernels + 1, 0
            self.kernel = Kernel(self.folder, self.kernels)
            if kernel is not None:
                self.restarted = True
                await kernel.end()
            await self.kernel.start()

    async def run(self, request, writer, left):
        run = Run(int(request["max_output"]))
        began = time.monotonic()
        if not await self.kernel.manager.is_alive():
            await self.replace(self.kernel)
        writer.write(line_of({"type": "begun"}))
        sender = asyncio.create_task(run.send(writer))
        outcome = {"type": "done", "timed_out": False}
        env = request.get("env") or {}
        former = None
        try:
            if env:
                former = await self.change_env(env)
            reply = await self.watch(request, run, left, outcome)
            if reply is not None:
                self.count = reply.get("execution_count") or self.count
                if reply.get("status") != "ok" and not run.failed:
                    run.error(reply.get("ename", "Error"), reply.get("evalue", ""),
                              reply.get("traceback", ()))  # fmt: skip
            if reply is not None and any(
                part.get("source") == "ask_exit" and not part.get("keepkernel")
                for part in reply.get("payload", ())
            ):
                await self.replace(self.kernel)
            elif env and reply is not None:
                await self.change_env(former)
            while run.lines and not left.done():
                await asyncio.wait({left}, timeout=0.005)
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        outcome |= {"ok": not run.failed, "truncated": run.truncated, "restarted": self.restarted}
        outcome |= {"count": self.count, "ms": (time.monotonic() - began) * 1000}
        self.restarted = False
        writer.write(line_of(outcome))
        await writer.drain()

    async def change_env(self, env):
        """Sets variables (None: unsets) in the kernel; returns what they were."""
        code = (
            "(lambda e, j: e.display_pub.publish({'application/json': "
            "{n: __import__('os').environ.get(n) for n in j}}) or "
            "[__import__('os').environ.pop(n, None) if v is None else "
            "__import__('os').environ.__setitem__(n, v) for n, v in j.items()])"
            f"(get_ipython(), __import__('json').loads({json.dumps(env)!r}))"
        )
        run = Run(1 << 20)
        try:
            await asyncio.wait_for(self.kernel.execute(code, run, silent=True), GRACE)
            return json.loads(json.loads(run.lines[0])["forms"]["json"])
        except (asyncio.TimeoutError, IndexError, KeyError, ValueError):
            return {name: None for name in env}

    async def watch(self, request, run, left, outcome):
        """The kernel's reply, or None when there is none: then there is a new kernel."""
        task = asyncio.create_task(self.kernel.execute(request["code"], run))
        deadline = time.monotonic() + float(request["timeout_ms"]) / 1000
        interrupted = again = None
        why = None
        kernel = self.kernel
        while True:
            await asyncio.wait({task} if interrupted else {task, left}, timeout=0.1,
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            now = time.monotonic()
            if task.done() and not task.cancelled() and task.exception() is None:
                return task.result()
            if kernel is not self.kernel:
                why = "it was restarted"
            elif task.done() or not await kernel.manager.is_alive():
                why = f"it has ended {kernel.exit_status()}"
                await asyncio.wait({task}, timeout=0.2)  # what it has said before
            elif interrupted is None and (left.done() or now > deadline):
                outcome["timed_out"] = now > deadline
                interrupted = again = now
                await kernel.interrupt()
            elif interrupted is not None and now > interrupted + GRACE:
                why = "the code did not end when it was interrupted"
            elif interrupted is not None and now > again + 1:
                again = now
                await kernel.interrupt()
            if why is not None:
                task.cancel()
                await self.replace(kernel)
                run.error("KernelDied", f"{why}; what this context had defined is lost")
                return None

    def status(self):
        return {"created": int(self.created * 1000), "used": int(self.used * 1000)} | {
            "type": "done", "busy": self.running, "count": self.count, "cwd": self.cwd}  # fmt: skip

    async def queue(self, request, writer, left):
        if self.waiting >= MOST_WAITING:
            writer.write(line_of({"type": "refused", "why": f"{self.waiting} others wait already"}))
            return
        self.waiting += 1
        turn = asyncio.ensure_future(self.turn.acquire())
        try:
            await asyncio.wait({turn, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting -= 1
        if not turn.done():
            turn.cancel()
            return
        try:
            if not left.done():
                self.running, self.used = True, time.time()
                await self.run(request, writer, left)
        finally:
            self.running, self.used = False, time.time()
            self.turn.release()

    async def serve(self, reader, writer):
        left = None
        try:
            request = json.loads(await reader.readline())
            left = asyncio.ensure_future(reader.read(1))
            operation = request.get("op")
            if operation == "run":
                await self.queue(request, writer, left)
            else:
                if operation == "interrupt" and self.running:
                    await self.kernel.interrupt()
                elif operation == "restart":
                    await self.replace(self.kernel)
                    self.restarted = self.running
                writer.write(line_of(self.status()))
            await writer.drain()
        except Exception as error:  # whatever it is, who waits is told
            writer.write(line_of({"type": "refused", "why": f"the kernel does not start: {error}"}))
        finally:
            if left is not None:
                left.cancel()
            writer.close()


async def main():
    folder = sys.argv[1]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, 0o700)
    bridge = Bridge(folder)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await bridge.turn.acquire()
    server = await asyncio.start_unix_server(bridge.serve, f"{folder}/socket", limit=MOST_LINE)
    try:
        await bridge.replace(None)
        bridge.turn.release()
        print("ready", flush=True)
        await ended.wait()
    finally:
        server.close()
        if bridge.kernel is not None:
            await bridge.kernel.end()
        shutil.rmtree(folder, ignore_errors=True)


asyncio.run(main())
