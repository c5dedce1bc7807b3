// Light, dark, or as the system has it.

export type Choice = 'auto' | 'light' | 'dark';

const KEY = 'observatory-theme';
const CHOICES: readonly Choice[] = ['auto', 'light', 'dark'];

class Theme {
  choice = $state<Choice>(read());
  private system = $state(matchMedia('(prefers-color-scheme: dark)').matches);
  readonly dark = $derived(this.choice === 'auto' ? this.system : this.choice === 'dark');

  constructor() {
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', (event) => (this.system = event.matches));
    this.apply();
  }

  next(): void {
    this.choice = CHOICES[(CHOICES.indexOf(this.choice) + 1) % CHOICES.length] ?? 'auto';
    try {
      localStorage.setItem(KEY, this.choice);
    } catch {
      // Then it lasts as long as the page.
    }
    this.apply();
  }

  private apply(): void {
    if (this.choice === 'auto') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = this.choice;
  }
}

function read(): Choice {
  try {
    const kept = localStorage.getItem(KEY);
    return CHOICES.find((choice) => choice === kept) ?? 'auto';
  } catch {
    return 'auto';
  }
}

export const theme = new Theme();
