// A client in a process of its own, to be killed: starts the server it is given as JSON, busies it, says "ready", waits.
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const { code, ...server } = JSON.parse(process.argv[2]!);
const client = new Client({ name: "cloche-tests", version: "1" });
await client.connect(new StdioClientTransport(server));
await client.callTool({ name: "exec", arguments: { code: "1" } });
await client.callTool({ name: "exec", arguments: { code, wait_s: 0.5 } });
console.log("ready");
setInterval(() => {}, 60_000);
