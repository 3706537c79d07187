// A real Docker engine of the tests' own is killed, frozen and restarted under the server, as tests/faults does with a
// socket in front of the machine's.
import { needing } from "../e2e/rows.ts";
import { engineFaults } from "../faults/engine-cases.ts";
import { missing, OwnEngine } from "./own-engine.ts";

needing("docker", "an engine of its own", missing, () => {
  engineFaults(() => OwnEngine.open(), { outlived: true });
});
