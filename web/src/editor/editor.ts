// The PromQL editor. Loaded when it is needed: it is larger than all the rest.

import {
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
  completionStatus,
} from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from '@codemirror/commands';
import { bracketMatching, HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { setDiagnostics } from '@codemirror/lint';
import { EditorState, Prec } from '@codemirror/state';
import { EditorView, keymap, placeholder } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { PromQLExtension } from '@prometheus-io/codemirror-promql';
import { offsetOf, type Position } from '../core/result';
import { catalog } from './catalog';

export interface EditorOptions {
  readonly text: string;
  readonly label: string;
  readonly onChange: (text: string) => void;
  readonly onRun: () => void;
}

const STYLE = HighlightStyle.define([
  { tag: tags.labelName, color: 'light-dark(#8a3d00, #f0a868)' },
  { tag: tags.string, color: 'light-dark(#1a6b35, #7ee2a0)' },
  { tag: [tags.number, tags.literal], color: 'light-dark(#0b5cad, #79b8ff)' },
  { tag: [tags.keyword, tags.modifier, tags.function(tags.variableName)], color: 'light-dark(#7a3e9d, #d2a8ff)' },
  { tag: tags.operator, color: 'light-dark(#57606a, #9aa4af)' },
  { tag: tags.comment, color: 'light-dark(#57606a, #9aa4af)', fontStyle: 'italic' },
  { tag: tags.invalid, color: 'light-dark(#cf222e, #ff7b72)' },
]);

const THEME = EditorView.theme({
  '&': { fontSize: '14px', color: 'var(--text)' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '20px' },
  '.cm-content': { padding: '7px 0', caretColor: 'var(--text)' },
  '.cm-line': { padding: '0 10px' },
  '.cm-placeholder': { color: 'var(--muted)' },
  '.cm-matchingBracket': { backgroundColor: 'var(--accent-soft)', outline: '1px solid var(--accent)' },
  '.cm-lintRange-error': {
    backgroundImage: 'none',
    textDecoration: 'underline wavy var(--bad)',
    textUnderlineOffset: '4px',
  },
  '.cm-lintPoint-error:after': { borderBottomColor: 'var(--bad)' },
  '.cm-tooltip': {
    backgroundColor: 'var(--raised)',
    border: '1px solid var(--line)',
    borderRadius: '6px',
    boxShadow: 'var(--shadow)',
    overflow: 'hidden',
    zIndex: '6',
  },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': {
    fontFamily: 'var(--mono)',
    fontSize: '13px',
    maxHeight: '260px',
    minWidth: '260px',
  },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '3px 10px', lineHeight: '20px' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]': {
    backgroundColor: 'var(--accent-soft)',
    color: 'var(--text)',
  },
  '.cm-completionMatchedText': { textDecoration: 'none', fontWeight: '700', color: 'var(--accent)' },
  '.cm-completionDetail': { color: 'var(--muted)', fontStyle: 'normal', marginLeft: '1em' },
  '.cm-completionInfo': { padding: '8px 10px', maxWidth: '360px', fontFamily: 'var(--font)', fontSize: '13px' },
  '.cm-diagnostic': {
    padding: '6px 10px',
    fontFamily: 'var(--font)',
    fontSize: '13px',
    borderLeft: '3px solid var(--bad)',
  },
});

export class QueryEditor {
  private readonly view: EditorView;
  private readonly promql = new PromQLExtension();

  constructor(host: HTMLElement, options: EditorOptions) {
    // In a tree of its own, styles are adopted sheets: the page's policy allows no style that a script writes.
    const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' });
    // The server alone says what is wrong, and where: two readers of one language would differ now and then.
    this.promql.setComplete({ remote: catalog }).activateLinter(false);
    const run = (): boolean => {
      options.onRun();
      return true;
    };
    const state = EditorState.create({
      doc: options.text,
      extensions: [
        history(),
        bracketMatching(),
        closeBrackets(),
        autocompletion({ icons: false, activateOnTyping: true, maxRenderedOptions: 60 }),
        // Enter takes a completion that is offered; otherwise it runs.
        Prec.high(
          keymap.of([
            { key: 'Enter', run: (view) => (completionStatus(view.state) === 'active' ? false : run()) },
            { key: 'Mod-Enter', run },
            { key: 'Shift-Enter', run: insertNewlineAndIndent },
          ]),
        ),
        keymap.of([...completionKeymap, ...closeBracketsKeymap, ...historyKeymap, ...defaultKeymap]),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ 'aria-label': options.label, autocapitalize: 'off', spellcheck: 'false' }),
        placeholder('A query in PromQL, such as up'),
        syntaxHighlighting(STYLE),
        this.promql.asExtension(),
        THEME,
        EditorView.updateListener.of((update) => {
          if (update.docChanged) options.onChange(update.state.doc.toString());
        }),
      ],
    });
    this.view = new EditorView({ state, parent: root, root });
  }

  /** Replaces the text, unless it is the same. */
  set(text: string): void {
    const now = this.view.state.doc.toString();
    if (now !== text) this.view.dispatch({ changes: { from: 0, to: now.length, insert: text } });
  }

  /** Underlines where the server found a mistake. */
  mark(problem: { readonly text: string; readonly position?: Position } | undefined): void {
    const { state } = this.view;
    const text = state.doc.toString();
    const at = problem?.position ? offsetOf(text, problem.position) : 0;
    // To the end of the word, or at least one character: a point is hard to see.
    const length = /^[\w:.]+/.exec(text.slice(at))?.[0].length ?? 1;
    const [from, to] =
      at >= text.length ? [Math.max(0, text.length - 1), text.length] : [at, Math.min(text.length, at + length)];
    const marks = problem?.position ? [{ from, to, severity: 'error' as const, message: problem.text }] : [];
    this.view.dispatch(setDiagnostics(state, marks));
  }

  focus(): void {
    this.view.focus();
    this.view.dispatch({ selection: { anchor: this.view.state.doc.length } });
  }

  destroy(): void {
    this.promql.destroy();
    this.view.destroy();
  }
}
