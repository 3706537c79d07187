// Turns a page into a PNG with the Chromium that this machine has.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findCommand } from "../../src/shared/find-command.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
const MAC = "/Applications/Google Chrome.app/Contents/MacOS:/Applications/Chromium.app/Contents/MacOS";
const DEADLINE_MS = 60_000;

/** Path of a Chromium or Chrome. Throws with what to install where there is none. */
export function findBrowser(searchPath: string | undefined): string {
  const found =
    NAMES.map((name) => findCommand(name, searchPath)).find((path) => path !== undefined) ??
    findCommand("Google Chrome", MAC) ??
    findCommand("Chromium", MAC);
  if (found) return found;
  throw new Error(
    "The picture is drawn by Chromium, and neither Chromium nor Chrome is here. Install one (on Debian and Ubuntu: apt-get install chromium), then run this again.",
  );
}

/**
 * Draws the HTML file `page` at `width` CSS pixels and as high as it is. The page writes its height, in CSS pixels,
 * into its root element as `data-height`. `scale` is pixels of the PNG for one CSS pixel.
 */
export function drawPage(browser: string, page: string, png: string, width: number, scale: number): void {
  const profile = mkdtempSync(join(tmpdir(), "cloche-browser-"));
  const run = (height: number, ...args: string[]) => {
    const { status, stdout, stderr, error } = spawnSync(
      browser,
      [
        "--headless",
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--hide-scrollbars",
        "--disable-lcd-text",
        // A browser of root's has no sandbox of its own; all it opens is the page that was just written.
        ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
        `--user-data-dir=${profile}`,
        `--window-size=${width},${height}`,
        `--force-device-scale-factor=${scale}`,
        ...args,
        `file://${page}`,
      ],
      { encoding: "utf8", timeout: DEADLINE_MS },
    );
    if (status === 0) return stdout;
    throw new Error(`${browser} failed: ${error?.message ?? stderr.trim().split("\n").at(-1)}`);
  };
  try {
    const height = Number(/ data-height="(\d+)"/.exec(run(800, "--dump-dom"))?.[1]);
    if (!height) throw new Error(`${browser} did not lay the page out`);
    run(height, `--screenshot=${png}`);
  } finally {
    rmSync(profile, { recursive: true, force: true });
  }
}
