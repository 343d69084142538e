/** Who the guest says they are. */
export interface Identity {
  name: string;
  email: string;
}

/** What a guest logs in with at the session endpoint; works once. */
export interface Grant {
  code: string;
  redirectUri: string;
  codeVerifier?: string;
  nonce?: string;
}

export interface GuestOptions {
  /**
   * Whom tokens are for; a token that was stored for another identity is not used. For the session endpoint a
   * function, which is asked for a new code when there is no token, or the session is over; if it throws, so
   * does what needed the token.
   */
  identity: Identity | (() => Grant | Promise<Grant>);
  /**
   * The token endpoint, or the session endpoint, relative to the page; its origin gets the token too.
   * Default: "/guestpass/token".
   */
  endpoint?: string;
  /** Further origins that may get the token, beside the page's own and the endpoint's. */
  origins?: readonly string[];
  /** The field that carries the token, both ways. Default: "X-Guest-Token". */
  header?: string;
  /** What keeps the token over a reload. Default: "localStorage". "none": this page's memory. */
  storage?: "localStorage" | "sessionStorage" | "none";
}

/** The token endpoint gave no token; a lost network is a `TypeError`, as with `fetch`. */
export interface GuestError extends Error {
  /** The HTTP status, such as 429 or 503. */
  status: number;
  /** guestpass's stable code, such as "too_many_requests". */
  code?: string;
  /** Seconds for which the endpoint is not asked again; 0 if it did not say. */
  retryAfter: number;
}

export interface GuestEvents {
  /** Another token is in use from now on; told of a stored one too. "": a tab has logged out. */
  token: CustomEvent<{ token: string; expiresIn: number }>;
  /** The token ran out, and no other could be had; the next call, wake-up or reconnect tries again. */
  expired: CustomEvent<GuestError | Error>;
  /** No token could be had, or renewed; a token that is there still holds. */
  error: CustomEvent<GuestError | Error>;
}

export interface Guest extends EventTarget {
  /** As the browser's, with the token, for trusted origins; untouched for all others. */
  fetch: typeof fetch;
  /** The token, had or renewed first where that is needed. Rejects with a `GuestError`. */
  token(): Promise<string>;
  /** A WebSocket that offers the token as a subprotocol, to trusted origins. */
  webSocket(url: string | URL, protocols?: string | readonly string[]): Promise<WebSocket>;
  /**
   * End the session, at the session endpoint and in all tabs. Resolves to the endpoint's answer: after any but
   * 204, and 401 for a session that was over, the guest is still logged in.
   */
  logout(): Promise<Response>;
  /** Stop renewing and listening; the stored token stays. */
  close(): void;
  addEventListener<K extends keyof GuestEvents>(
    type: K,
    listener: (event: GuestEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof GuestEvents>(
    type: K,
    listener: (event: GuestEvents[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
}

export function createGuest(options: GuestOptions): Guest;
