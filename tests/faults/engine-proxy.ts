// A Docker engine that can be taken away: a socket in front of the real one, which dies, freezes and comes back.
import { rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";

/** An engine a test holds in its hand. */
export interface HeldEngine extends AsyncDisposable {
  /** DOCKER_HOST for servers under test */
  readonly host: string;
  /** ends it at once, with every connection */
  die(): Promise<void>;
  /** it is there, takes connections and says nothing any more */
  freeze(): void;
  /** puts an end to either */
  revive(): Promise<void>;
}

/** The engine behind `target`, at `path`. */
export async function proxyEngine(path: string, target: string): Promise<HeldEngine> {
  const sockets = new Set<Socket>();
  let frozen = false;
  let server: Server;

  const serve = async () => {
    server = createServer({ allowHalfOpen: true }, (client) => {
      const upstream = connect({ path: target, allowHalfOpen: true });
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        sockets.add(from);
        from.on("data", (chunk) => {
          if (!to.write(chunk)) from.pause();
        });
        from.on("drain", () => !frozen && to.resume());
        from.on("end", () => to.end());
        from.on("error", () => {});
        from.on("close", () => {
          sockets.delete(from);
          to.destroy();
        });
      }
      if (frozen) for (const socket of [client, upstream]) socket.pause();
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
  };
  await serve();
  const die = async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
    rmSync(path, { force: true });
  };
  return {
    host: `unix://${path}`,
    die,
    freeze: () => {
      frozen = true;
      for (const socket of sockets) socket.pause();
    },
    async revive() {
      frozen = false;
      for (const socket of sockets) socket.resume();
      if (!server.listening) await serve();
    },
    [Symbol.asyncDispose]: die,
  };
}
