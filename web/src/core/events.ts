// Server-sent events, read from a stream: `EventSource` cannot send a token.

export interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

/** No event of ours is this long; what is, is not for us. */
const PENDING_MAX = 1 << 20;

/** Takes text as it arrives, in pieces cut anywhere, and gives the events that it completes. */
export class EventParser {
  private pending = '';
  private name = '';
  private data: string[] = [];

  push(text: string): ServerEvent[] {
    this.pending += text;
    const events: ServerEvent[] = [];
    for (;;) {
      const match = /\r\n|\n|\r(?!$)/.exec(this.pending);
      if (!match) break;
      const line = this.pending.slice(0, match.index);
      this.pending = this.pending.slice(match.index + match[0].length);
      const event = this.line(line);
      if (event) events.push(event);
    }
    if (this.pending.length > PENDING_MAX) this.pending = '';
    return events;
  }

  private line(line: string): ServerEvent | undefined {
    if (line === '') {
      const event = { name: this.name || 'message', data: this.data.join('\n') };
      const any = this.data.length > 0;
      this.name = '';
      this.data = [];
      return any ? event : undefined;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.name = value;
    if (field === 'data') this.data.push(value);
    return undefined;
  }
}
