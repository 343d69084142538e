/** Gets a guest's token, keeps it fresh, sends it. */
export function createGuest({
  identity,
  endpoint = "/guestpass/token",
  origins = [],
  header = "X-Guest-Token",
  storage = "localStorage",
}) {
  const who = JSON.stringify(identity);
  const url = new URL(endpoint, location).href;
  const key = `guestpass:${url}`;
  const trusted = [location, url, ...origins].map((one) => new URL(one).origin);
  const channel = new BroadcastChannel(key);
  const closing = new AbortController(), { signal } = closing;
  const guest = Object.assign(new EventTarget(), { fetch: guestFetch, token, webSocket, logout, close });
  // Later: a new page listens then.
  const emit = (type, detail) =>
    queueMicrotask(() => guest.dispatchEvent(new CustomEvent(type, { detail })));
  let record = { token: "", ends: 0 };
  let deadline = 0, lead, flight, failure, timer;

  // One may stop in sleep, one be stepped.
  const left = () => Math.min(deadline - performance.now(), record.ends - Date.now());

  /** Adopt what expires later, or was given `instead`. */
  function adopt(next, instead) {
    const before = record.token;
    if (next.who !== who || !(next.expires > 0 && next.ends > 0)) return;
    if (before && next.expires <= record.expires && before !== instead) return;
    record = next;
    deadline = performance.now() + next.ends - Date.now();
    lead = Math.min(120_000, left() / 10);
    schedule();
    if (next.token !== before) emit("token", { token: next.token, expiresIn: left() / 1000 });
  }

  /** Adopt it in all tabs. */
  function hear(asked, token, expiresAt, seconds) {
    const next = { who, token, expires: Date.parse(expiresAt), ends: Date.now() + seconds * 1000 };
    adopt(next, asked);
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

  async function ask(currentToken, old = currentToken) {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(currentToken || !identity.call ? { ...identity, currentToken } : await identity()),
      redirect: "error",
      signal: AbortSignal.timeout(15_000), // tabs wait
    });
    const { ok, status, headers } = response;
    if (status === 401 && currentToken) return ask("", old);
    const { token, expires_at, expires_in, code } = await response.json().catch(() => ({}));
    if (ok) return hear(old, token, expires_at, expires_in);
    const retryAfter = +headers.get("retry-after");
    throw Object.assign(new Error(`guestpass: HTTP ${status}`), { status, code, retryAfter });
  }

  async function logout() {
    const response = await send(new Request(url, { method: "DELETE", redirect: "error" }), record.token);
    if ([204, 401].includes(response.status)) hear("", "", "9999", 0); // later than any
    return response;
  }

  async function renewal(stale) {
    if (performance.now() < failure?.until) throw failure.error;
    const turn = () => (recall(), record.token === stale || left() <= 0) && ask(record.token);
    try {
      // No Web Locks on plain http.
      await (navigator.locks?.request(key, { signal }, turn) ?? turn());
      failure = null;
    } catch (error) {
      failure = { error, until: performance.now() + 1000 * (error.retryAfter || 1) };
      emit(record.token && left() <= 0 ? "expired" : "error", error);
      throw error;
    }
  }

  /** Get another token than `stale`: one call for all tabs. */
  const renew = (stale) => (flight ??= renewal(stale).finally(() => schedule((flight = null))));

  function schedule() {
    clearTimeout(timer);
    const rest = left();
    if (rest <= 0 || signal.aborted) return;
    timer = setTimeout(wake, Math.min(Math.max(failure ? rest / 2 : rest - lead, 1000), 1e9));
  }

  function wake() {
    if (!record.token) return;
    recall();
    if (left() > lead) schedule();
    else renew(record.token).catch(() => {}); // an event tells
  }

  async function token() {
    signal.throwIfAborted();
    // An old one may be in its grace.
    if (left() <= 0) await renew(record.token).catch((error) => record.token || Promise.reject(error));
    return record.token;
  }

  async function guestFetch(input, init) {
    const request = new Request(input, init);
    const { origin } = new URL(request.url);
    if (!trusted.includes(origin)) return fetch(request);
    // A redirect would take the token along.
    const bound = origin === location.origin ? { mode: "same-origin" } : { redirect: "error" };
    const again = !(init?.body instanceof ReadableStream) && request.clone();
    const used = await token();
    const response = await send(request, used, bound);
    // An app may have its own 401.
    const refused = response.status === 401 && response.headers.get("www-authenticate");
    if (!again || !/^Bearer realm="guest"/.test(refused)) return response;
    if (record.token === used) await renew(used).catch(() => {});
    return record.token === used ? response : send(again, record.token, bound);
  }

  async function send(request, token, bound) {
    request.headers.set(header, token);
    const response = await fetch(request, bound);
    const told = (end) => response.headers.get(header + end);
    if (told("")) hear("", ...["", "-Expires-At", "-Expires-In"].map(told));
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
    schedule();
    channel.close();
  }

  recall();
  channel.onmessage = ({ data }) => adopt(data);
  for (const type of ["visibilitychange", "pageshow", "online"]) addEventListener(type, wake, { signal });
  return guest;
}
