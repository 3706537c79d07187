// A long mixed life of a server: what a person, a model and hostile code do in it, with every answer kept.
import { join } from "node:path";
import { descendants } from "../e2e/left-behind.ts";
import type { Place } from "../e2e/place.ts";
import type { Server } from "../e2e/server.ts";
import { sandboxesOf } from "../load/processes.ts";

/** What a thief tries first; `PATHS` is replaced. */
const LOOK_AROUND = [
  "import os, glob, subprocess, sys\ndict(os.environ), sys.argv, sys.orig_argv",
  "[open(path, 'rb').read() for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline') if os.access(path, os.R_OK)]",
  "for path in PATHS:\n    try: print(path, open(path).read())\n    except OSError as error: print(error)",
  "subprocess.run('env; mount; cat /proc/self/mountinfo; ls -la / /cloche /data /home /root', shell=True)",
  "import socket\nfor path in ['/var/run/docker.sock', '/run/docker.sock']:\n    try: socket.socket(socket.AF_UNIX).connect(path)\n    except OSError as error: print(error)",
];

const WORK = [
  "kept = 41",
  "kept + 1",
  "print('x' * 100_000)",
  "1 / 0",
  "raise ValueError('no ' + 'value')",
  "def deep(n): return deep(n + 1)\ndeep(0)",
  "import pandas as pd\ntable = pd.DataFrame({'a': range(1000)})\ntable.describe()",
  "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
  "open('/workspace/report.txt', 'w').write('a report')\npublish('/workspace/report.txt')",
  "publish('/nowhere')",
  "!ls -la /",
  "syntax error here",
];

/** Three sessions with a bit of everything; returns the answers, and the progress that was told. */
export async function live(place: Place, server: Server, paths: string[]): Promise<string[]> {
  const answers: string[] = [];
  const call = async (tool: string, args: Record<string, unknown> = {}) => {
    const onProgress = (message: string) => void answers.push(message);
    try {
      const answer = await server.call(tool, args, { onProgress });
      answers.push(answer.text, answer.status);
      return answer;
    } catch (error) {
      answers.push(String(error));
      return undefined;
    }
  };
  place.write("data.csv", "name,amount\nana,1\nbob,2\n");
  for (const session of ["main", "second"]) {
    for (const code of [...LOOK_AROUND, ...WORK])
      await call("exec", { code: code.replace("PATHS", JSON.stringify(paths)), session });
    await call("load", { path: "data.csv", session });
    await call("load", { text: "a,b\n1,2\n", format: "csv", name: "small", session });
    await call("vars", { session });
    await call("vars", { name: "table", session });
  }
  for (const path of [
    ...paths,
    ".",
    "**/*",
    "link.txt",
    "../outside.txt",
    "~/.aws/credentials",
    "/proc/self/environ",
  ])
    await call("load", { path, name: "stolen" });
  for (const url of ["file:///etc/passwd", "http://127.0.0.1:9/"]) await call("load", { url });
  await call("exec", { code: "1", unknown: true });
  await call("exec", { cell: 10_000 });

  const running = await call("exec", { code: "import time\nprint('half'); time.sleep(60)", wait_s: 0.2 });
  await call("exec", { cell: running?.cell, stop: true });
  await call("exec", { code: "import os; os._exit(3)" });
  await call("exec", { code: "'again'" });
  await call("exec", { code: "import os, signal; os.kill(-1, signal.SIGKILL)", session: "second" });
  await call("exec", { code: "import ctypes; ctypes.string_at(0)", session: "third" });
  await call("exec", { code: "while True: pass", timeout_s: 0.3, session: "third" });
  await call("reset", { session: "second" });
  await call("exec", { code: "'kept' in globals()", session: "second" });

  // A sandbox that is killed from outside: its session starts over.
  const [oldest] = sandboxesOf(place);
  if (oldest) process.kill(oldest.supervisor, "SIGKILL");
  for (const session of ["main", "second", "third"])
    for (const code of LOOK_AROUND)
      await call("exec", { code: code.replace("PATHS", JSON.stringify(paths)), session });
  await call("vars", { session: "*" });
  await call("load", { path: join(place.project, "data.csv") });
  if (descendants(server.pid).length === 0 && place.kind === "bubblewrap") throw new Error("nothing runs");
  return answers;
}
