// What a Node team writes: http-proxy behind a check with jose. Arguments: port, backend, file of the JWKS.
import { createServer, Agent } from "node:http";
import { readFileSync } from "node:fs";
import { createLocalJWKSet, jwtVerify } from "jose";
import httpProxy from "http-proxy";

const [port, target, jwks] = process.argv.slice(2);
const keys = createLocalJWKSet(JSON.parse(readFileSync(jwks, "utf-8")));
const agent = new Agent({ keepAlive: true, maxSockets: 256 });
const proxy = httpProxy.createProxyServer({ target, agent });
proxy.on("error", (_error, _request, response) => {
  if (response.writeHead && !response.headersSent) response.writeHead(502).end();
});
// Without it a client that hangs up leaves the backend's connection paused for ever, and all of them are soon.
proxy.on("proxyReq", (asked, _request, response) => response.on("close", () => asked.destroy()));
createServer(async (request, response) => {
  try {
    const { payload } = await jwtVerify(request.headers["x-guest-token"] ?? "", keys, { algorithms: ["RS256"] });
    request.headers["x-guest-subject"] = String(payload.sub);
  } catch {
    response.writeHead(401).end();
    return;
  }
  proxy.web(request, response);
}).listen(Number(port), "127.0.0.1");
