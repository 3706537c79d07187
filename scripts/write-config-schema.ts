// Writes src/config/config.schema.json anew from the settings: run it, then `npm run format`, after changing a setting.
import { writeFileSync } from "node:fs";
import { configSchema } from "../src/config/schema.ts";

const schema = new URL("../src/config/config.schema.json", import.meta.url);
writeFileSync(schema, `${JSON.stringify(configSchema(), null, 2)}\n`);
