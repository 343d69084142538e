// The same check in Node.js, with nothing installed: node check.mjs SITE ASSERTION prints who the guest is.
import { createPublicKey, verify } from "node:crypto";
import { pathToFileURL } from "node:url";

export async function guestOf(assertion, site, audience) {
  const [header, claims, signature] = assertion.split(".");
  const read = (part) => JSON.parse(Buffer.from(part, "base64url").toString());
  // Keep the keys for up to five minutes, and ask again for a kid that is not among them.
  const { keys } = await (await fetch(`${site}/.well-known/guestpass/jwks.json`)).json();
  const jwk = keys.find((key) => key.kid === read(header).kid && key.alg === "ES256");
  const key = jwk && { key: createPublicKey({ key: jwk, format: "jwk" }), dsaEncoding: "ieee-p1363" };
  const signed = key && verify("sha256", `${header}.${claims}`, key, Buffer.from(signature, "base64url"));
  const { iss, aud, exp, ...guest } = signed ? read(claims) : {};
  const genuine = iss === "guestpass-gateway" && aud === audience && exp > Date.now() / 1000;
  if (!genuine) throw new Error("not a genuine assertion");
  return guest;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  console.log(JSON.stringify(await guestOf(process.argv[3], process.argv[2], "orders")));
}
