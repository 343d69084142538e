/** The browser's side of guestpass: gets a token, keeps it fresh, sends it. */
export function createGuest(options) {
  const { endpoint = "/guestpass/token", origins = [], header = "X-Guest-Token" } = options;
  const { storage = "localStorage", identity: { name, email } } = options;
  const who = JSON.stringify([name, email]);
  const url = new URL(endpoint, location).href;
  const key = `guestpass:${url}`; // what tabs share
  const trusted = [location, url, ...origins].map((one) => new URL(one).origin);
  const channel = new BroadcastChannel(key);
  const closing = new AbortController();
  const { signal } = closing;
  const guest = Object.assign(new EventTarget(), { fetch: guestFetch, token, webSocket, close });
  // Later, as a new page listens only then.
  const emit = (type, detail) =>
    queueMicrotask(() => guest.dispatchEvent(new CustomEvent(type, { detail })));
  let record, deadline, lead, flight, failure, timer;

  // One clock may stop in sleep, one may be stepped: too early only costs a call.
  const left = () => (record ? Math.min(deadline - performance.now(), record.ends - Date.now()) : 0);

  /** Adopt what expires later by the server's clock, or what was given `instead`. */
  function adopt(next, instead = []) {
    const before = record?.token;
    if (next?.who !== who || !(next.expires > 0 && next.ends > 0)) return;
    if (before && next.expires <= record.expires && !instead.includes(before)) return;
    record = next;
    deadline = performance.now() + next.ends - Date.now();
    lead = Math.min(120_000, left() / 10) * (1 + Math.random() / 2); // not all tabs at once
    schedule();
    if (next.token !== before) emit("token", { token: next.token, expiresIn: left() / 1000 });
  }

  /** Adopt what the server just said, in all tabs. */
  function hear(asked, token, expiresAt, seconds) {
    const next = { who, token, expires: Date.parse(expiresAt), ends: Date.now() + seconds * 1000 };
    adopt(next, [asked, token]);
    if (record !== next) return;
    try {
      channel.postMessage(next);
      self[storage].setItem(key, JSON.stringify(next));
    } catch {} // closed, off or full
  }

  function recall() {
    try {
      adopt(JSON.parse(self[storage].getItem(key)));
    } catch {} // off, or not ours
  }

  async function ask(currentToken) {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name, email, currentToken }),
      redirect: "error",
      signal: AbortSignal.timeout(15_000), // other tabs wait meanwhile
    });
    const { ok, status, headers } = response;
    const { token, expires_at, expires_in, code } = await response.json().catch(() => ({}));
    if (ok) return hear(currentToken, token, expires_at, expires_in);
    const retryAfter = Number(headers.get("retry-after"));
    throw Object.assign(new Error(`guestpass: HTTP ${status}`), { status, code, retryAfter });
  }

  async function renewal(stale) {
    if (performance.now() < failure?.until) throw failure.error;
    const turn = () => (recall(), record?.token === stale || left() <= 0) && ask(record?.token);
    try {
      // Plain http has no Web Locks.
      await (navigator.locks?.request(key, { signal }, turn) ?? turn());
      failure = null;
    } catch (error) {
      failure = { error, until: performance.now() + 1000 * (error.retryAfter || 1) };
      emit(record && left() <= 0 ? "expired" : "error", error);
      throw error;
    }
  }

  /** Get another token than `stale`, or hear that it is good: one call for all tabs. */
  const renew = (stale) => (flight ??= renewal(stale).finally(() => schedule((flight = null))));

  function schedule() {
    clearTimeout(timer);
    const rest = left();
    if (rest <= 0 || signal.aborted) return;
    timer = setTimeout(wake, Math.min(Math.max(failure ? rest / 2 : rest - lead, 1000), 1e9));
  }

  function wake() {
    if (!record) return;
    recall();
    if (left() > lead) schedule();
    else renew(record.token).catch(() => {}); // an event tells
  }

  async function token() {
    signal.throwIfAborted();
    // An old one may be in its grace.
    if (left() <= 0) await renew(record?.token).catch((error) => record || Promise.reject(error));
    return record.token;
  }

  async function guestFetch(input, init) {
    const request = new Request(input, init);
    const { origin } = new URL(request.url);
    if (!trusted.includes(origin)) return fetch(request);
    // A redirect elsewhere would take the token along.
    const bound = origin === location.origin ? { mode: "same-origin" } : { redirect: "error" };
    const again = !(init?.body instanceof ReadableStream) && request.clone();
    const used = await token();
    const response = await send(request, used, bound);
    // An app may have a 401 of its own.
    const refused = response.status === 401 && response.headers.get("www-authenticate");
    if (!again || !/^Bearer realm="guest"/.test(refused)) return response;
    if (record.token === used) await renew(used).catch(() => {});
    return record.token === used ? response : send(again, record.token, bound);
  }

  async function send(request, token, bound) {
    const headers = new Headers(request.headers);
    headers.set(header, token);
    const response = await fetch(request, { headers, ...bound });
    const told = (end) => response.headers.get(header + end);
    if (told("")) hear("", told(""), told("-Expires-At"), told("-Expires-In"));
    return response;
  }

  async function webSocket(address, protocols = []) {
    const to = new URL(address, location);
    const ours = trusted.includes(to.origin.replace("ws", "http"));
    const offers = ours ? ["guestpass", `guestpass.token.${await token()}`] : [];
    return new WebSocket(to.href.replace(/^http/, "ws"), offers.concat(protocols));
  }

  function close() {
    closing.abort();
    clearTimeout(timer);
    channel.close();
  }

  recall();
  channel.onmessage = ({ data }) => adopt(data);
  for (const type of ["visibilitychange", "pageshow", "online"]) addEventListener(type, wake, { signal });
  return guest;
}
