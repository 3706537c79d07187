// Settings under way: values, and where each came from.
import type { SettingName, Settings, SettingsFile } from "./settings.ts";

export interface Draft {
  values: Settings;
  origins: Record<SettingName, string>;
  /** sentences the person should read */
  warnings: string[];
}

/** Takes every setting that `settings` names. */
export function assign(draft: Draft, settings: SettingsFile, origin: string): void {
  for (const [name, value] of givenSettings(settings)) {
    Object.assign(draft.values, { [name]: value });
    draft.origins[name] = origin;
  }
}

export function givenSettings(settings: SettingsFile): [SettingName, unknown][] {
  const entries = Object.entries(settings).filter(
    ([name, value]) => name !== "$schema" && value !== undefined,
  );
  return entries as [SettingName, unknown][];
}
