// Which sandbox serves: the one that was asked for, else the first that can.
import { ClocheError } from "../shared/errors.ts";
import type { Sandbox, SandboxKind, SandboxReport } from "./sandbox.ts";

/**
 * The sandbox for `wanted`; with "auto" the first available in the order given. Never an unsandboxed run: throws
 * `sandbox.unavailable`, naming what stands in the way of each and its remedy.
 */
export async function chooseSandbox(
  candidates: readonly Sandbox[],
  wanted: SandboxKind | "auto",
): Promise<Sandbox> {
  const reports: SandboxReport[] = [];
  for (const candidate of candidates) {
    if (wanted !== "auto" && candidate.kind !== wanted) continue;
    const report = await candidate.inspect();
    if (report.available) return candidate;
    reports.push(report);
  }
  const obstacles = reports.flatMap(({ kind, problems }) =>
    problems.map(({ problem, remedy }) => `${kind}: ${problem}. ${remedy}`),
  );
  throw new ClocheError("sandbox.unavailable", {
    message: `no sandbox can serve, so nothing was run. ${obstacles.join(" ")}`.trim(),
  });
}
