// One table for both kinds of sandbox: what user code can and cannot do inside is the same whichever serves.
import { createHash, randomFillSync } from "node:crypto";
import { linkSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { askInside, LIMITS, openBox, python, runInside } from "./fixture.ts";
import { availability, testConfig } from "./required.ts";

const TRY = `
import errno, json, os, socket, sys
def attempt(action):
    try:
        return {"done": repr(action())}
    except OSError as error:
        return {"refused": errno.errorcode.get(error.errno, str(error))}
`;

describe.each(await availability())("$kind", ({ kind, available, reason, limits }) => {
  // The reason stands in the test's name, where the run's report shows it.
  const skipped = (why: string) => (name: string, _: () => void) => test.skip(`${name} (${why})`, () => {});
  const row = available ? test : skipped(reason);
  const watched = limits.memory?.startsWith("watchdog");
  const counted = watched
    ? skipped("here the supervisor counts memory, and it does not run in this test")
    : row;

  row("reaches no network, and not the host's loopback either", async () => {
    const server = createServer((socket) => socket.end("host")).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const found = await askInside<Record<string, { done?: string }>>(
      kind,
      `${TRY}
socket.setdefaulttimeout(2)
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: return s.sendto(b"x", ("8.8.8.8", 53))
with open("/proc/net/dev") as file: interfaces = [line.split(":")[0].strip() for line in file if ":" in line]
print(json.dumps({
    "host": attempt(lambda: socket.create_connection(("127.0.0.1", ${port}))),
    "tcp": attempt(lambda: socket.create_connection(("1.1.1.1", 53))),
    "tcp6": attempt(lambda: socket.create_connection(("2606:4700:4700::1111", 53))),
    "udp": attempt(udp),
    "name": attempt(lambda: socket.getaddrinfo("example.com", 80)),
    "vsock": attempt(lambda: socket.socket(socket.AF_VSOCK)),
    "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "raw": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    "interfaces": {"refused": ",".join(interfaces)},
}))`,
    );
    server.close();
    expect(found.interfaces).toEqual({ refused: "lo" });
    for (const [name, outcome] of Object.entries(found)) expect(outcome.done, name).toBeUndefined();
  });

  row("serves its own loopback by name", async () => {
    const code = `
import asyncio, json
async def main():
    async def answer(reader, writer):
        writer.write((await reader.readline()).upper()); await writer.drain(); writer.close()
    server = await asyncio.start_server(answer, "localhost", 0)
    reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
    writer.write(b"bell\\n")
    return (await reader.readline()).decode()
print(json.dumps(asyncio.run(main())))`;
    expect(await askInside(kind, code)).toBe("BELL\n");
  });

  row("shows no file of the host but programs, libraries and what was staged", async () => {
    const secrets = [join(testConfig.home, ".cloche-parity-secret"), "/var/tmp/.cloche-parity-secret"];
    for (const path of secrets) writeFileSync(path, "secret");
    try {
      const code = `
import json, os
def entries(path):
    try: return sorted(os.listdir(path))
    except OSError: return []
hidden = ${JSON.stringify([...secrets, testConfig.paths.state, testConfig.project, "/etc/shadow", "/etc/machine-id"])}
def readable(path):
    try:
        if os.path.isdir(path): return bool(os.listdir(path))
        with open(path): return True
    except OSError: return False
print(json.dumps({
    "seen": [path for path in hidden if readable(path)],
    "home": entries("/home") + entries("/root") + entries("/mnt") + entries("/media") + entries("/srv"),
    "cloche": entries("/cloche"), "data": entries("/data"), "scratch": entries("/scratch"), "tmp": entries("/tmp"),
    "users": [line.split(":")[0] for line in open("/etc/passwd")],
}))`;
      const found = await askInside<Record<string, string[]>>(kind, code);
      expect(found.seen).toEqual([]);
      expect(found.home).toEqual([]);
      expect(found.cloche!.filter((name) => name !== "etc")).toEqual(["data"]);
      expect([found.data, found.scratch, found.tmp]).toEqual([[], [], []]);
      expect(found.users).toEqual(["root", "cloche"]);
    } finally {
      for (const path of secrets) rmSync(path);
    }
  });

  row("starts from three environment variables and nothing of the server's", async () => {
    const code = "import json, os; print(json.dumps(dict(os.environ)))";
    const { PWD: _, LC_CTYPE: __, ...found } = await askInside<Record<string, string>>(kind, code);
    expect(found).toEqual({
      PATH: "/opt/cloche/python/bin:/usr/local/bin:/usr/bin:/bin",
      LANG: "C.UTF-8",
      HOME: "/workspace",
    });
  });

  row("runs as an ordinary user that can gain nothing", async () => {
    const code = `${TRY}
import getpass, subprocess
status = {name: value.strip() for name, _, value in (line.partition(":") for line in open("/proc/self/status"))}
print(json.dumps({
    "uid": os.getuid() != 0, "pid": os.getpid(), "user": getpass.getuser(), "cwd": os.getcwd(),
    "capabilities": sorted({status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}),
    "no new privileges": status["NoNewPrivs"], "seccomp": status["Seccomp"],
    "setuid": attempt(lambda: os.setuid(0)),
    "namespace": subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode != 0,
    "mount": subprocess.run(["mount", "-t", "tmpfs", "none", "/tmp"], capture_output=True).returncode != 0,
    "device": attempt(lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0))),
}))`;
    expect(await askInside(kind, code)).toEqual({
      uid: true,
      pid: 1,
      user: "cloche",
      cwd: "/workspace",
      capabilities: ["0000000000000000"],
      "no new privileges": "1",
      seccomp: "2",
      setuid: { refused: expect.stringMatching(/EPERM|EINVAL/) },
      namespace: true,
      mount: true,
      device: { refused: "EPERM" },
    });
  });

  row("writes to /workspace, /tmp, /scratch and /dev/shm, and nowhere else", async () => {
    const code = `
import json, os
def writable(directory):
    path = os.path.join(directory, "probe")
    try: os.close(os.open(path, os.O_CREAT | os.O_WRONLY)); os.unlink(path); return True
    except OSError: return False
directories = set()
for top in ["/", "/usr", "/etc", "/opt", "/dev", "/cloche", "/data", "/scratch", "/workspace", "/tmp", "/proc", "/var", "/run"]:
    for at, below, _ in os.walk(top):
        directories.add(at)
        if at.count("/") >= 3 or (at == "/" or at.startswith("/proc")): below.clear()
print(json.dumps({
    "writable": sorted(directory for directory in directories if writable(directory)),
    "kernel settings": any(os.access(path, os.W_OK) for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger")),
}))`;
    const found = await askInside<{ writable: string[] }>(kind, code);
    // /dev/mqueue is Docker's; the calls that would use it answer ENOSYS, and what can be made there is bounded.
    const expected = ["/dev/shm", "/scratch", "/tmp", "/workspace"];
    expect({ ...found, writable: found.writable.filter((path) => path !== "/dev/mqueue") }).toEqual({
      writable: expected,
      "kernel settings": false,
    });
  });

  row("sees a file that is staged after the start, and cannot change it", async () => {
    const code = `${TRY}
print("ready", flush=True); sys.stdin.readline()
print(json.dumps({
    "content": open("/data/late.csv").read(),
    "write": attempt(lambda: open("/data/late.csv", "a")), "remove": attempt(lambda: os.unlink("/data/late.csv")),
    "chmod": attempt(lambda: os.chmod("/data/late.csv", 0o777)), "staging": attempt(lambda: open("/cloche/data/new", "w")),
}))`;
    await using box = await openBox(kind, python(code));
    const source = join(testConfig.paths.run, `${box.directory.name}.source`);
    writeFileSync(source, "a,b\n1,2\n", { mode: 0o444 });
    try {
      linkSync(source, join(box.directory.staging, "data/late.csv"));
      box.running.stdio.write("go\n");
      expect(JSON.parse((await box.output).split("\n")[1]!)).toEqual({
        content: "a,b\n1,2\n",
        write: { refused: expect.stringMatching(/EACCES|EROFS/) },
        remove: { refused: "EROFS" },
        chmod: { refused: expect.stringMatching(/EPERM|EROFS/) },
        staging: { refused: "EROFS" },
      });
    } finally {
      rmSync(source);
    }
  });

  row("leaves scratch to the host, which can remove all of it", async () => {
    const code =
      "import os; os.makedirs('/scratch/a/b', 0o700); open('/scratch/a/b/spill', 'w').write('x' * 10_000)";
    const { exit } = await runInside(kind, code);
    expect(exit).toEqual({ reason: "it ended by itself", outOfMemory: false });
  });

  row("turns one allocation over the memory limit into a MemoryError", async () => {
    const code = `
import json
try: block = bytearray(${2 * LIMITS.memory}); found = "allocated"
except MemoryError: found = "MemoryError"
print(json.dumps(found))`;
    expect(await askInside(kind, code)).toBe("MemoryError");
  });

  counted("is ended by the memory limit where no allocation failed, and says so", async () => {
    // Shared memory is no part of RLIMIT_DATA: only what counts pages can stop it.
    const code = `
import mmap
print("started", flush=True)
block = mmap.mmap(-1, ${2 * LIMITS.memory})
for at in range(0, len(block), 4096): block[at] = 1
print("survived", flush=True)`;
    const { text, exit } = await runInside(kind, code);
    expect(text).toBe("started\n");
    expect(exit).toEqual({ reason: "it used more than its memory limit", outOfMemory: true });
  });

  counted("outlives a child that ran out of memory", async () => {
    const code = `
import json, mmap, os, signal
pid = os.fork()
if pid == 0:
    block = mmap.mmap(-1, ${2 * LIMITS.memory})
    for at in range(0, len(block), 4096): block[at] = 1
    os._exit(0)
status = os.waitpid(pid, 0)[1]
print(json.dumps(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL))`;
    const { text, exit } = await runInside(kind, code);
    expect(text.trim()).toBe("true");
    expect(exit).toEqual({ reason: "it ended by itself", outOfMemory: false });
  });

  row("stops a fork bomb at its limit of processes", async () => {
    const code = `
import json, os, signal, time
made = 0
while made < 500:
    try: pid = os.fork()
    except BlockingIOError: break
    if pid == 0: time.sleep(60); os._exit(0)
    made += 1
print(json.dumps(made))
import sys; sys.stdout.flush(); os._exit(0)`;
    const made = await askInside<number>(kind, code);
    expect(made).toBeGreaterThan(LIMITS.processes / 2);
    expect(made).toBeLessThanOrEqual(LIMITS.processes);
  });

  row("fills no tmpfs beyond its size, and no file beyond the limit of one", async () => {
    const code = `${TRY}
import resource
def fill(place):
    path = place + "/big"
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(${LIMITS.tmpfs / 2 ** 20 + 8}): file.write(bytes(1 << 20))
    finally:
        os.unlink(path)
print(json.dumps({
    **{place: attempt(lambda: fill(place)) for place in ("/workspace", "/tmp", "/dev/shm")},
    "one file": attempt(lambda: os.truncate(open("/scratch/huge", "w").name, 1 << 40)),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[1], "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
}))`;
    expect(await askInside(kind, code)).toEqual({
      "/workspace": { refused: "ENOSPC" },
      "/tmp": { refused: "ENOSPC" },
      "/dev/shm": { refused: "ENOSPC" },
      core: 0,
      files: 8192,
      "one file": { refused: "EFBIG" },
    });
  });

  row(
    "runs what data people run: threads, processes, asyncio, sqlite, duckdb, arrow, sklearn, figures",
    async () => {
      const code = `
import os; os.environ["MPLCONFIGDIR"] = "/tmp/mpl"
import asyncio, io, json, multiprocessing, sqlite3, subprocess, threading
import duckdb, matplotlib, numpy as np, pandas as pd, polars, pyarrow.parquet, sklearn.cluster
matplotlib.use("Agg")
import matplotlib.pyplot as plt
def square(x): return x * x
if __name__ == "__main__":
    found = {}
    frame = pd.DataFrame({"a": np.arange(1000), "b": np.arange(1000) % 7})
    frame.to_parquet("/tmp/frame.parquet")
    found["arrow"] = int(pyarrow.parquet.read_table("/tmp/frame.parquet")["a"].to_numpy().sum())
    found["duckdb"] = duckdb.sql("select count(*) from '/tmp/frame.parquet' where b = 3").fetchall()[0][0]
    found["polars"] = polars.read_parquet("/tmp/frame.parquet").group_by("b").len().height
    found["sqlite"] = sqlite3.connect("/scratch/x.db").execute("select 6*7").fetchone()[0]
    found["sklearn"] = len(set(sklearn.cluster.KMeans(3, n_init=1, random_state=0).fit(frame).labels_))
    with multiprocessing.get_context("fork").Pool(2) as pool: found["processes"] = pool.map(square, [1, 2, 3])
    found["queue"] = multiprocessing.get_context("fork").Semaphore().acquire()
    results = []; threads = [threading.Thread(target=lambda: results.append(float(np.linalg.norm(np.ones((200, 200)) @ np.ones((200, 200)))))) for _ in range(4)]
    [t.start() for t in threads]; [t.join() for t in threads]; found["threads"] = len(results)
    found["subprocess"] = subprocess.run("echo $((6*7))", shell=True, capture_output=True, text=True).stdout.strip()
    found["asyncio"] = asyncio.run(asyncio.sleep(0, 42))
    image = io.BytesIO(); plt.plot([1, 2]); plt.savefig(image); found["figure"] = image.getvalue()[:4].hex()
    print(json.dumps(found))`;
      const limits = { memory: 2 ** 31, tmpfs: 2 ** 28, processes: 256 };
      expect(await askInside(kind, code, { limits })).toEqual({
        arrow: 499500,
        duckdb: 143,
        polars: 7,
        sqlite: 42,
        sklearn: 3,
        processes: [1, 4, 9],
        queue: true,
        threads: 4,
        subprocess: "42",
        asyncio: 42,
        figure: "89504e47",
      });
    },
  );

  row("carries bytes both ways unchanged, and keeps stderr apart", async () => {
    const code = `
import hashlib, os, sys
hash = hashlib.sha256(); left = 24_000_000
while left:
    chunk = os.read(0, min(left, 1 << 20)); hash.update(chunk); left -= len(chunk)
    view = memoryview(chunk)
    while view: view = view[os.write(1, view):]
    os.write(2, b"noise ")
os.write(2, b"sum " + hash.hexdigest().encode())`;
    const sent = randomFillSync(Buffer.alloc(24_000_000));
    const expected = createHash("sha256").update(sent).digest("hex");
    await using box = await openBox(kind, python(code), { unread: true });
    box.running.stdio.write(sent);
    expect(await hashOf(box.running.stdio)).toBe(expected);
    await box.running.exited;
    expect(box.running.diagnostics()).toMatch(new RegExp(`sum ${expected}$`));
  });

  row("keeps the last 8 KiB of stderr and says how it ended", async () => {
    const code = "import sys; sys.stderr.write('x' * 100_000 + 'the end'); sys.stderr.flush(); sys.exit(3)";
    const { exit, diagnostics } = await runInside(kind, code);
    expect(exit).toEqual({ reason: "it ended with status 3", outOfMemory: false });
    expect(diagnostics).toMatch(/^x+the end$/);
    expect(diagnostics).toHaveLength(8_192);
  });
});

async function hashOf(stream: Duplex): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of stream) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
