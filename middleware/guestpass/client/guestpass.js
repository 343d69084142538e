/** The browser's side of guestpass: gets a guest's token, keeps it fresh, sends it. See docs/browser.md. */
export function createGuest(options) {
  const { identity, endpoint = "/guestpass/token", origins = [] } = options;
  const { header = "X-Guest-Token", storage = "localStorage" } = options;
  const url = new URL(endpoint, location.href).href;
  const key = `guestpass:${url}`; // of the storage, channel and lock that tabs share
  const trusted = [location.origin, ...[url, ...origins].map((one) => new URL(one).origin)];
  const channel = new BroadcastChannel(key);
  const closing = new AbortController();
  const { signal } = closing;
  const guest = Object.assign(new EventTarget(), { fetch: guestFetch, token, webSocket, close });
  const emit = (type, detail) => guest.dispatchEvent(new CustomEvent(type, { detail }));
  let who, record, deadline, lead, naming, flight, failure, timer;

  // Only differences of this machine's clocks count. performance.now() may stand still in its sleep, Date
  // may be stepped: the earlier end holds, as one too early only costs a call.
  const left = () => (record ? Math.min(deadline - performance.now(), record.ends - Date.now()) : 0);

  /** Adopt what expires later by the server's clock, or what the endpoint gave in place of `asked`. */
  function adopt(next, asked) {
    if (next?.who !== who || !(next.expires > 0 && next.ends > 0)) return;
    const before = record?.token;
    if (before && !(next.expires > record.expires || [asked, next.token].includes(before))) return;
    record = next;
    deadline = performance.now() + Math.min(next.ends - Date.now(), next.lasts);
    lead = Math.min(120_000, next.lasts / 10) * (1 + Math.random() / 2); // tabs must not ask all at once
    schedule();
    if (next.token !== before) emit("token", { token: next.token, expiresIn: left() / 1000 });
  }

  /** Adopt what the server just said, and tell the other tabs. */
  function hear(asked, token, expiresAt, seconds) {
    const lasts = seconds * 1000;
    const next = { who, token, expires: Date.parse(expiresAt), lasts, ends: Date.now() + lasts };
    adopt(next, asked);
    if (record !== next) return;
    try {
      channel.postMessage(next);
      self[storage].setItem(key, JSON.stringify(next));
    } catch {} // closed, off, full or forbidden: this page has it all the same
  }

  function recall() {
    try {
      adopt(JSON.parse(self[storage].getItem(key)));
    } catch {} // off, forbidden, or not ours
  }

  async function ask(currentToken) {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...JSON.parse(who), currentToken }),
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
      // Web Locks need a secure context; without them each tab asks for itself.
      await (navigator.locks?.request(key, { signal }, turn) ?? turn());
      failure = undefined;
    } catch (error) {
      failure = { error, until: performance.now() + 1000 * (error.retryAfter || 1) };
      emit(record && left() <= 0 ? "expired" : "error", error);
      throw error;
    }
  }

  /** Get another token than `stale`, or the same if the server calls it good: one call for all tabs. */
  const renew = (stale) => (flight ??= renewal(stale).finally(() => schedule((flight = undefined))));

  function schedule() {
    clearTimeout(timer);
    const rest = left();
    if (rest <= 0 || signal.aborted) return; // the next call asks
    timer = setTimeout(wake, Math.min(Math.max(failure ? rest / 2 : rest - lead, 1000), 1e9));
  }

  function wake() {
    if (!record) return;
    recall();
    if (left() > lead) schedule();
    else renew(record.token).catch(() => {}); // an event tells
  }

  async function identify() {
    const { name, email } = await (identity.call ? identity() : identity);
    who = JSON.stringify({ name, email });
    recall();
  }

  async function token() {
    signal.throwIfAborted();
    if (!who) await (naming ??= identify().finally(() => (naming = undefined)));
    // With an old token at hand the server decides: it may be within its grace.
    if (left() <= 0) await renew(record?.token).catch((error) => record || Promise.reject(error));
    return record.token;
  }

  async function guestFetch(input, init) {
    const request = new Request(input, init);
    const { origin } = new URL(request.url);
    if (!trusted.includes(origin)) return fetch(request);
    // Browsers take our field along wherever a redirect points, so none may lead to another origin.
    const bound = origin === location.origin ? { mode: "same-origin" } : { redirect: "error" };
    const again = !(init?.body instanceof ReadableStream) && request.clone();
    const used = await token();
    const response = await send(request, used, bound);
    // By its challenge, as an app may have a 401 of its own.
    const refused = response.status === 401 && response.headers.get("www-authenticate");
    if (!again || !/^Bearer realm="guest"/.test(refused)) return response;
    if (record.token === used) await renew(used).catch(() => {});
    return record.token === used ? response : send(again, record.token, bound);
  }

  async function send(request, token, bound) {
    const headers = new Headers(request.headers);
    headers.set(header, token);
    const response = await fetch(request, { headers, ...bound });
    const told = ["", "-Expires-At", "-Expires-In"].map((end) => response.headers.get(header + end));
    if (told[0]) hear("", ...told);
    return response;
  }

  async function webSocket(address, protocols = []) {
    const to = new URL(address, location.href);
    to.protocol = to.protocol.replace("http", "ws");
    const ours = trusted.includes(to.origin.replace("ws", "http"));
    const offers = ours ? ["guestpass", `guestpass.token.${await token()}`] : [];
    return new WebSocket(to, offers.concat(protocols));
  }

  function close() {
    closing.abort();
    clearTimeout(timer);
    channel.close();
  }

  channel.onmessage = ({ data }) => adopt(data);
  for (const type of ["visibilitychange", "pageshow", "online"]) addEventListener(type, wake, { signal });
  return guest;
}
