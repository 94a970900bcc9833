// How the book's JavaScript is checked: `make lint`.
import js from '@eslint/js';
import globals from 'globals';

const SHORT = { skipComments: true };

export default [
  { ignores: ['**/.*/', '_build/', 'build/', 'data/', 'dist/', 'runs/', 'slides/vendor/'] },
  js.configs.recommended,
  {
    files: ['**/*.js'],
    languageOptions: { sourceType: 'script', ecmaVersion: 2023, globals: globals.browser },
    rules: {
      'eqeqeq': 'error',
      'no-implicit-coercion': ['error', { allow: ['+'] }],
      'no-shadow': ['error', { builtinGlobals: false }],
      'no-var': 'error',
      'max-len': ['error', { code: 120 }],
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'semi': 'error',
    },
  },
  {
    // Parts of one script: what a file uses of another can be seen only where all are together.
    files: ['detr_mini/teaching/live/**', 'detr_mini/browse/assets/*.js'],
    rules: {
      'max-lines': ['error', 300],
      'max-lines-per-function': ['error', { max: 40, ...SHORT }],
      'no-undef': 'off',
      'no-unused-vars': ['error', { vars: 'local' }],
    },
  },
  {
    // Short functions that take their names where they stand, in one function around all.
    files: ['detr_mini/browse/assets/*.js'],
    rules: {
      'no-redeclare': ['error', { builtinGlobals: false }],
      'no-shadow': 'off',
      'no-unused-vars': ['error', { vars: 'local', args: 'none' }],
    },
  },
  {
    // Each is one function, `play`, that the page calls: what it holds are its parts.
    files: ['detr_mini/teaching/interactive/*.js'],
    rules: { 'no-unused-vars': ['error', { varsIgnorePattern: '^(play|start)$' }] },
  },
  { files: ['tests/*.js'], languageOptions: { globals: globals.node } },
];
