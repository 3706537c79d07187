// kill -9 of the server at each step, in the sandbox that starts faster; tests/long does it in all of them.
import { describe } from "vitest";
import { availability } from "../sandboxes/required.ts";
import { serverKills } from "./server-kills.ts";

const found = (await availability()).findLast(({ available }) => available);
describe.skipIf(!found)("kill -9 of the server", () => serverKills(found!.kind));
