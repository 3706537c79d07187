// The one argument every tool shares.
import { z } from "zod";

/** Names a person would type; never a path. */
export const SESSION_NAME = /^[a-z0-9_-]{1,40}$/;

export const sessionName = z.string().regex(SESSION_NAME, "a session name has 1 to 40 of a-z, 0-9, _ and -");

export const sessionArgument = sessionName
  .default("main")
  .describe("Which Python session; each has its own variables and sandbox. Opened on first use.");
