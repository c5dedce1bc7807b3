// The token, if the server wants one: kept for this tab, gone when it is closed.

const KEY = 'observatory-token';

class Session {
  token = $state(read());
  /** The server asked for a token, at least once. */
  needed = $state(read() !== '');
  /** Why the person is asked now; empty while nobody is. */
  question = $state('');
  private waiting: { resolve: () => void; reject: (cause: unknown) => void }[] = [];

  /** Asks for a token; done when there is one. `refused` is the token that did not do. */
  ask(refused: string, why: string): Promise<void> {
    this.needed = true;
    // Another answer came back late, and by now there is another token.
    if (this.token !== refused && this.question === '') return Promise.resolve();
    this.question = why;
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }

  give(token: string): void {
    this.token = token.trim();
    try {
      sessionStorage.setItem(KEY, this.token);
    } catch {
      // Without storage the token lasts as long as the page.
    }
    this.end((waiting) => waiting.resolve());
  }

  /** The person would rather not say. */
  dismiss(): void {
    this.end((waiting) => waiting.reject(new Error('A token is needed to read this server’s data.')));
  }

  forget(): void {
    this.token = '';
    try {
      sessionStorage.removeItem(KEY);
    } catch {
      // There was none.
    }
  }

  private end(tell: (waiting: { resolve: () => void; reject: (cause: unknown) => void }) => void): void {
    const waiting = this.waiting;
    this.waiting = [];
    this.question = '';
    waiting.forEach(tell);
  }
}

function read(): string {
  try {
    return sessionStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}

export const session = new Session();
