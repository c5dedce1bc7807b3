// Fragments as a tree: elements are made one by one, so the page's policy may forbid markup from text altogether.
export default { compilerOptions: { fragments: 'tree', runes: true } };
