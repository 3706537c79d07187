// One of several servers that write one log: `count` lines under `name`, as fast as it can.
import { openLogFile } from "../../src/config/log-file.ts";

const [path = "", name = "", count = "0"] = process.argv.slice(2);
const log = openLogFile({ path, level: "info", env: {}, maxBytes: 20_000 }).child({ writer: name });
for (let n = 0; n < Number(count); n += 1) log.info("line", { n });
