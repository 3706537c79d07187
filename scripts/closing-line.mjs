// Says the total of a test run on a line alone: closing-line.mjs RESULTS. Ends with 1 where a test failed or none ran.
import { readFileSync } from "node:fs";

const text = readFileSync(process.argv[2], "utf8");
const files = text === "" ? [] : JSON.parse(text).testResults;
const statuses = files.flatMap((file) => file.assertionResults.map((test) => test.status));
const count = (...wanted) => statuses.filter((status) => wanted.includes(status)).length;

const passed = count("passed");
// A file that cannot be loaded has no tests to fail, and is a failure all the same.
const broken = files.filter(
  (file) => file.status === "failed" && !file.assertionResults.some(isFailed),
).length;
const failed = count("failed") + broken;
const skipped = count("skipped", "pending", "todo", "disabled");
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);

function isFailed(test) {
  return test.status === "failed";
}
