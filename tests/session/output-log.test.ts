// A cell's output on the host: bounded whatever comes, clean to read, images in their place.
import { describe, expect, test } from "vitest";
import { cleanText } from "../../src/session/clean-text.ts";
import { OutputLog } from "../../src/session/output-log.ts";

const PNG = Buffer.from("89504e470d0a1a0a0000", "hex");

describe("cleanText", () => {
  test.each([
    ["plain text, tabs and newlines stay", "a\tb\nc ü 🌱", "a\tb\nc ü 🌱"],
    ["colours go", "\x1b[1;31mred\x1b[0m", "red"],
    ["a clipboard write goes (OSC 52)", "a\x1b]52;c;ZXZpbA==\x07b", "ab"],
    ["a title ends at ST too", "a\x1b]0;title\x1b\\b", "ab"],
    ["a carriage return starts over", "10%\r50%\r100%\ndone", "100%\ndone"],
    ["Windows line ends are line ends", "a\r\nb\r\n", "a\nb\n"],
    ["bidirectional controls are shown", "user\u202e\u2066nimda", "user\\u202e\\u2066nimda"],
    ["NUL and BEL are shown", "a\0b\x07", "a\\x00b\\x07"],
    ["C1 controls are shown", "\x9b31m", "\\x9b31m"],
    ["a lone surrogate is shown", "a\ud800b", "a\\ud800b"],
    ["an unfinished escape is shown", "a\x1b", "a\\x1b"],
    ["a link is its words (OSC 8)", "\x1b]8;;https://x\x1b\\words\x1b]8;;\x1b\\", "words"],
    ["device and application commands go (DCS, APC)", "a\x1bP+q54\x1b\\b\x1b_Gi=1\x1b\\c", "abc"],
    ["private modes go", "\x1b[?1049h\x1b[>4;1mq", "q"],
    ["letters hidden as tags are shown", "x\u{e0049}\u{e0067}", "x\\u{e0049}\\u{e0067}"],
    [
      "zero-width characters between Latin letters are shown",
      "a\u200bb\u200dc\ufe0f",
      "a\\u200bb\\u200dc\\ufe0f",
    ],
    [
      "joiners stay where a script or an emoji needs them",
      "می\u200cخواهم 👩\u200d💻 ❤\ufe0f",
      "می\u200cخواهم 👩\u200d💻 ❤\ufe0f",
    ],
    ["letters that are seen as nothing are shown", "a\u3164b\u00adc", "a\\u3164b\\xadc"],
  ])("%s", (_, dirty, clean) => {
    expect(cleanText(dirty)).toBe(clean);
  });
});

describe("OutputLog", () => {
  test("characters split between chunks arrive whole", () => {
    const log = new OutputLog();
    for (const byte of Buffer.from("grün 🌱")) log.write(Buffer.from([byte]));
    expect(log.snapshot().text).toBe("grün 🌱");
  });

  test("a flood keeps head and tail within its bound and says what is missing", () => {
    const log = new OutputLog();
    log.write(Buffer.from("first line\n"));
    const megabyte = Buffer.from(`${"x".repeat(99)}\n`.repeat(10_000));
    for (let n = 0; n < 50; n++) log.write(megabyte);
    log.write(Buffer.from("last line\n"));
    const { text, dropped } = log.snapshot();
    expect(text.length).toBeLessThan(1_001_000);
    expect(text.startsWith("first line\n")).toBe(true);
    expect(text.endsWith("last line\n")).toBe(true);
    expect(text).toMatch(/\n… [\d,]+ characters of output dropped …\n/);
    const kept = text.replace(/\n… [\d,]+ characters of output dropped …\n/g, "").length;
    expect(kept + dropped).toBe(11 + 50_000_000 + 10);
  });

  test("what the sandbox dropped is marked in its place", () => {
    const log = new OutputLog();
    log.write(Buffer.from("head"));
    log.drop(1_234_567);
    log.write(Buffer.from("tail"));
    expect(log.snapshot()).toMatchObject({
      text: "head\n… 1,234,567 bytes of output dropped …\ntail",
      dropped: 1_234_567,
    });
  });

  test("images keep their place, also where cleaning shortens the text before them", () => {
    const log = new OutputLog();
    log.write(Buffer.from("\x1b[31mred\x1b[0m\n"));
    log.placeImage("d1");
    log.write(Buffer.from("after\n"));
    log.image("d1", "image/png", PNG);
    expect(log.snapshot().images).toEqual([{ mime: "image/png", data: PNG, at: 4 }]);
  });

  test("at most five images, and only what really is one", () => {
    const log = new OutputLog();
    for (let n = 0; n < 9; n++) {
      log.placeImage(`d${n}`);
      log.image(`d${n}`, n === 1 ? "text/html" : "image/png", n === 2 ? Buffer.from("<html>") : PNG);
    }
    expect(log.snapshot().images).toHaveLength(3);
  });

  test("the last line is what a person would see", () => {
    const log = new OutputLog();
    log.write(Buffer.from("one\ntwo"));
    expect(log.lastLine).toBe("two");
    log.progress("\r 50%|█████     |");
    expect(log.lastLine).toBe("50%|█████     |");
  });
});
