// The JSON schema of config.json and .cloche.json, for editors; config.schema.json is this, written down.
import { z } from "zod";
import { settingsFile } from "./settings.ts";

export function configSchema(): Record<string, unknown> {
  return {
    ...z.toJSONSchema(settingsFile, { io: "input", target: "draft-7" }),
    title: "Cloche settings: ~/.config/cloche/config.json, and .cloche.json in a project",
  };
}
