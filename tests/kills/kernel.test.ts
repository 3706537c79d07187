// The kernel is killed at each step, in the sandbox that starts faster; tests/long does it in all of them.
import { describe } from "vitest";
import { availability } from "../sandboxes/required.ts";
import { kernelKills } from "./kernel-kills.ts";

const found = (await availability()).findLast(({ available }) => available);
describe.skipIf(!found)("a kernel that is killed", () => kernelKills(found!.kind));
