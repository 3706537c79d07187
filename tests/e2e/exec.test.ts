// exec over the real line: what a cell may say, and what comes back of it.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { SandboxKind } from "../../src/sandboxes/sandbox.ts";
import { pngSize } from "./answer.ts";
import { Place } from "./place.ts";
import { eachSandbox } from "./rows.ts";
import type { Server } from "./server.ts";

/** A client hands its server the whole environment, keys included. */
const SECRET = "sk-canary-7d1f";

eachSandbox("exec", (kind: SandboxKind) => {
  let place: Place;
  let server: Server;
  beforeAll(async () => {
    place = new Place(kind);
    server = await place.start({ env: { ANTHROPIC_API_KEY: SECRET } });
  });
  afterAll(async () => place?.[Symbol.asyncDispose]());
  const exec = (code: string, args?: Record<string, unknown>) => server.exec(code, args);

  test("the last expression is the answer, and variables stay", async () => {
    const first = await exec("x = 20\nx + 1");
    expect(first).toMatchObject({ text: "21", isError: false, images: [] });
    expect(first.status).toMatch(/^\[cell \d+: ok, [\d.]+ m?s\]$/);
    expect((await exec("x * 2")).text).toBe("40");
    expect((await exec("x;")).text).toBe("");
    expect((await exec("_ = 1\nNone")).status).toMatch(/no output/);
  });

  test("a DataFrame is a table a person can read", async () => {
    const { text } = await exec(
      'import pandas as pd\npd.DataFrame({"region": ["north", "south"], "total": [1200.5, 8.25]})',
    );
    expect(text.split("\n").map((line) => line.trim().split(/\s+/))).toEqual([
      ["region", "total"],
      ["0", "north", "1200.50"],
      ["1", "south", "8.25"],
    ]);
  });

  test("a figure is a PNG of at most 2,000 pixels, without asking for it", async () => {
    const answer = await exec(
      "import matplotlib.pyplot as plt\nfig = plt.figure(figsize=(30, 4), dpi=200)\nplt.plot([1, 3, 2])\nplt.title('t')\nprint('drawn')",
    );
    expect(answer.images.map(({ mime }) => mime)).toEqual(["image/png"]);
    const { width, height } = pngSize(answer.images[0]!.bytes);
    expect(width).toBeGreaterThan(1_000);
    expect(width).toBeLessThanOrEqual(2_000);
    expect(height).toBeGreaterThan(100);
    expect(answer.text).toContain("drawn");
  });

  test("five images come, and the rest are counted", async () => {
    const answer = await exec(
      "from PIL import Image\nfor i in range(8): display(Image.new('RGB', (3000 if i == 0 else 20, 20), (i * 30, 0, 0)))",
    );
    expect(answer.images).toHaveLength(5);
    expect(pngSize(answer.images[0]!.bytes).width).toBe(2_000);
    expect(pngSize(answer.images[1]!.bytes)).toEqual({ width: 20, height: 20 });
    expect(answer.status).toContain("3 more images not shown");
  });

  test("prints, stderr, C code, subprocesses, figures and the result come in the order they happened", async () => {
    const answer = await exec(
      [
        "import sys, ctypes, subprocess",
        "from PIL import Image",
        "libc = ctypes.CDLL(None)",
        "for i in range(10):",
        "    print(f'print {i}')",
        "    print(f'stderr {i}', file=sys.stderr)",
        "    libc.printf(f'printf {i}\\n'.encode())",
        "    subprocess.run(['echo', f'subprocess {i}'])",
        "    if i % 2: display(Image.new('RGB', (10 + i, 10)))",
        "'result'",
      ].join("\n"),
    );
    const seen = answer.blocks.flatMap((block) =>
      block.type === "image"
        ? [`image ${pngSize(Buffer.from(block.data, "base64")).width - 10}`]
        : block.text.split("\n"),
    );
    const expected = Array.from({ length: 10 }, (_, i) => [
      `print ${i}`,
      `stderr ${i}`,
      `printf ${i}`,
      `subprocess ${i}`,
      ...(i % 2 ? [`image ${i}`] : []),
    ]).flat();
    expect(seen.slice(0, -1)).toEqual([...expected, "'result'"]);
  });

  test("a traceback shows the user's lines and no terminal codes, and is an ordinary result", async () => {
    const answer = await exec(
      "import pandas as pd\ndef pick(frame):\n    return frame['missing']\npick(pd.DataFrame({'a': [1]}))",
    );
    expect(answer.isError).toBe(false);
    expect(answer.status).toContain("error");
    expect(answer.text).toMatch(/cell \d+, line 4/);
    expect(answer.text).toMatch(/cell \d+, line 3, in pick/);
    expect(answer.text).toContain("return frame['missing']");
    expect(answer.text).toMatch(/KeyError: 'missing'$/);
    expect(answer.text).not.toContain("\u001b");
    // Of pandas' own frames at most the one that raised is shown, for each of the two chained exceptions.
    expect(answer.text.match(/File "/g)?.length ?? 0).toBeLessThanOrEqual(2);
    expect(answer.text.length).toBeLessThan(2_500);
  });

  test("await works at the top of a cell", async () => {
    const { text } = await exec(
      "import asyncio\nasync def one(i):\n    await asyncio.sleep(0.01)\n    return i\nawait asyncio.gather(*[one(i) for i in range(3)])",
    );
    expect(text).toBe("[0, 1, 2]");
  });

  test("magics and the shell work", async () => {
    expect((await exec("%timeit -n1 -r1 1+1")).text).toMatch(/per loop/);
    expect((await exec("!echo from $((40+2)) the shell")).text).toBe("from 42 the shell");
    expect((await exec("%%writefile note.txt\nhello")).text).toMatch(/Writing note.txt/);
    expect((await exec("open('note.txt').read()")).text).toBe("'hello\\n'");
  });

  test("input() is refused with a sentence", async () => {
    const answer = await exec("name = input('Your name? ')");
    expect(answer.status).toContain("error");
    expect(answer.text).toMatch(/nobody types into a cell/i);
  });

  test("a syntax error points at its place", async () => {
    const { text, status } = await exec("a = 1\nb = = 2");
    expect(status).toContain("error");
    expect(text).toMatch(/cell \d+, line 2/);
    expect(text).toMatch(/b = = 2\n\s*\^/);
    expect(text).toMatch(/SyntaxError: invalid syntax/);
  });

  test("sys.exit does not end the session", async () => {
    await exec("kept = 5");
    const answer = await exec("import sys; sys.exit('bye')");
    expect(answer.text).toMatch(/SystemExit: bye.*session goes on/s);
    expect((await exec("kept")).text).toBe("5");
  });

  test("a package that is not there says how to add it", async () => {
    const { text } = await exec("import statsmodels.api");
    expect(text).toContain("ModuleNotFoundError");
    expect(text).toContain("./setup.sh --packages requirements.txt");
    for (const line of ["%pip install x", "!pip install x", "!python -m pip install x", "!apt-get install x"])
      expect((await exec(line)).text, line).toContain("./setup.sh --packages requirements.txt");
    expect((await exec("!ls /nowhere; exit 3")).text).not.toContain("setup.sh");
    expect((await exec("_exit_code")).text).toBe("3");
  });

  test("html, markdown, latex, svg, jpeg and json are shown by their rules", async () => {
    const { text, images } = await exec(
      [
        "from IPython.display import HTML, Markdown, Latex, SVG, JSON, Image as Shown",
        "import io, PIL.Image",
        "display(HTML('<table><tr><td>left</td><td>right</td></tr></table><script>x()</script>'))",
        "display(Markdown('**bold** text'))",
        "display(Latex(r'$\\frac{1}{2}$'))",
        "display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))",
        "display(JSON({'a': [1, 2]}))",
        "b = io.BytesIO(); PIL.Image.new('RGB', (8, 8)).save(b, 'JPEG'); display(Shown(b.getvalue(), format='jpeg'))",
      ].join("\n"),
    );
    expect(text).toMatch(/left\s+right/);
    expect(text).not.toContain("x()");
    expect(text).toContain("**bold** text");
    expect(text).toContain("$\\frac{1}{2}$");
    expect(text).toMatch(/SVG image of \d+ characters/);
    expect(text).toMatch(/\{\n\s+"a": \[\n\s+1,\n\s+2\n\s+\]\n\}/);
    expect(images.map(({ mime }) => mime)).toEqual(["image/jpeg"]);
  });

  test("the sandbox holds no secret of the host and reaches no network", async () => {
    const { text } = await exec(
      [
        "import glob, os, socket",
        "print(sorted(os.environ))",
        "seen = b''",
        "for path in glob.glob('/proc/[0-9]*/environ') + glob.glob('/proc/[0-9]*/cmdline'):",
        "    try: seen += open(path, 'rb').read()",
        "    except OSError: pass",
        `print(b'${SECRET}' in seen, len(seen) > 0)`,
        `print(os.path.exists(${JSON.stringify(place.project)}), os.getuid() != 0)`,
        "try:",
        "    socket.create_connection(('127.0.0.1', 80), 1)",
        "except OSError as error:",
        "    print('no network', type(error).__name__)",
      ].join("\n"),
    );
    expect(text).not.toMatch(/XDG|DOCKER|TOKEN|KEY/);
    expect(text.match(/False True/g)).toHaveLength(2);
    expect(text).toContain("no network");
  });

  test("an unknown argument is named, and so is a wrong combination", async () => {
    const unknown = await server.call("exec", { code: "1", timeout: 5 });
    expect(unknown.isError).toBe(true);
    expect(unknown.text).toContain("timeout");
    expect(unknown.text).not.toContain("at ");
    const wrong: [Record<string, unknown>, RegExp][] = [
      [{}, /needs code/],
      [{ code: "1", cell: 1 }, /either code or cell/],
      [{ code: "1", stop: true }, /stop/],
      [{ cell: 1, timeout_s: 5 }, /timeout_s/],
      [{ code: "1", wait_s: 46 }, /wait_s/],
      [{ code: "1", max_chars: 45_001 }, /max_chars/],
      [{ code: "1", session: "../x" }, /session/],
      [{ cell: 100_000 }, /no cell 100000/],
    ];
    for (const [args, said] of wrong) {
      const answer = await server.call("exec", args);
      expect(answer, JSON.stringify(args)).toMatchObject({ isError: true });
      expect(answer.text).toMatch(said);
    }
  });
});
