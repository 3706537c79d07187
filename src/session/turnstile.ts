// Who may use a session next: one at a time, first come first served, and nobody waits longer than they said.

export type Release = () => void;

interface Waiter {
  admit(release: Release): void;
}

export class Turnstile {
  private occupied = false;
  private readonly waiters: Waiter[] = [];

  /**
   * Waits for the turn, at most `ms` milliseconds; resolves with its release, or with undefined when the time is up.
   * Rejects with the signal's reason when that fires first. `release` is idempotent. `ahead` passes all who wait.
   */
  enter(ms: number, signal?: AbortSignal, ahead = false): Promise<Release | undefined> {
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (!this.occupied) {
      this.occupied = true;
      return Promise.resolve(this.release());
    }
    return new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", cancel);
        const place = this.waiters.indexOf(waiter);
        if (place >= 0) this.waiters.splice(place, 1);
      };
      const waiter: Waiter = {
        admit: (release) => {
          leave();
          resolve(release);
        },
      };
      const timer = setTimeout(() => {
        leave();
        resolve(undefined);
      }, ms);
      const cancel = () => {
        leave();
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", cancel, { once: true });
      if (ahead) this.waiters.unshift(waiter);
      else this.waiters.push(waiter);
    });
  }

  /** Somebody is inside. */
  get busy(): boolean {
    return this.occupied;
  }

  private release(): Release {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const next = this.waiters.shift();
      if (next) next.admit(this.release());
      else this.occupied = false;
    };
  }
}
