// Puts beside the compiled files what they read at run time: everything in src that is no TypeScript.
import { cpSync, statSync } from "node:fs";
import { extname } from "node:path";

cpSync("src", "dist", {
  recursive: true,
  filter: (path) => statSync(path).isDirectory() || extname(path) !== ".ts",
});
