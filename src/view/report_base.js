/* SPDX-License-Identifier: Apache-2.0
 *
 * The page's data and the small things that all of it is made with. Whatever a step or
 * a recipe wrote is only ever set as text, never as markup.
 */
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const run = data.run;
const steps = data.steps;
const byAddress = new Map(steps.map((step) => [step.address, step]));

/* --- states --- */

/* The outline of each, in a box of 16 by 16; in the order in which they are told. */
const STATES = {
    failed: ['failed', 'M4.5 4.5l7 7M11.5 4.5l-7 7'],
    stopped: ['stopped', 'M5 5h6v6H5z'],
    running: ['running', 'M6 4.5v7l5.5-3.5z'],
    backoff: ['waits to try again', 'M12 5v3H9M12 8a4 4 0 1 0-1 3'],
    succeeded: ['succeeded', 'M3.5 8.5l3 3 6-7'],
    cached: ['cached', 'M8.8 2.5L4.5 9H8l-.8 4.5L11.5 7H8z'],
    skipped: ['skipped', 'M4 8h8'],
    queued: ['queued', 'M8 4.5V8l2.5 1.5M13 8A5 5 0 1 1 3 8a5 5 0 0 1 10 0z'],
    preparing: ['preparing', 'M13 8A5 5 0 1 1 3 8a5 5 0 0 1 10 0z'],
    pending: ['pending', 'M12 8a4 4 0 1 1-8 0 4 4 0 0 1 8 0z'],
};
const STATE_ORDER = Object.keys(STATES);
/* How an attempt ended, where that is not a state. */
const HOW = { retry: 'failed, tried again', lost: 'lost: the run was interrupted' };

function stateWord(state)
{
    return STATES[state] ? STATES[state][0] : HOW[state] || state;
}

/* --- making elements --- */

function fill(node, attrs, kids)
{
    for (const [name, value] of Object.entries(attrs || {})) {
        if (value === undefined || value === null || value === false)
            continue;
        if (name === 'on')
            for (const [type, fn] of Object.entries(value))
                node.addEventListener(type, fn);
        else
            node.setAttribute(name, value === true ? '' : value);
    }
    for (const kid of kids.flat(Infinity))
        if (kid !== undefined && kid !== null && kid !== false)
            node.append(kid);
    return node;
}

function el(tag, attrs, ...kids)
{
    return fill(document.createElement(tag), attrs, kids);
}

function svg(tag, attrs, ...kids)
{
    const space = 'http://www.w3.org/2000/svg';
    return fill(document.createElementNS(space, tag), attrs, kids);
}

function icon(state)
{
    const path = svg('path', { d: STATES[state] ? STATES[state][1] : STATES.pending[1],
        fill: 'none', stroke: 'currentColor', 'stroke-width': 1.8,
        'stroke-linecap': 'round', 'stroke-linejoin': 'round' });
    return svg('svg', { class: 'icon s-' + state, viewBox: '0 0 16 16',
        'aria-hidden': 'true' }, path);
}

function facts(rows)
{
    const told = rows.filter((row) => row && row[1] !== undefined && row[1] !== '');
    return el('dl', { class: 'facts' }, told.map(([name, value]) =>
        [el('dt', null, name), el('dd', null, value)]));
}

/* Shows a section and gives the box that its content goes into. */
function section(id)
{
    const node = document.getElementById(id);
    node.hidden = false;
    return node.lastElementChild;
}

/* --- telling values --- */

function duration(ms)
{
    if (!(ms >= 0))
        return '–';
    if (ms < 1)
        return ms === 0 ? '0 s' : '<1 ms';
    if (ms < 1000)
        return Math.round(ms) + ' ms';
    const seconds = ms / 1000;
    if (seconds < 59.95)
        return seconds.toFixed(seconds < 10 ? 2 : 1) + ' s';
    const whole = Math.round(seconds);
    const two = (n) => String(n).padStart(2, '0');
    if (whole < 3600)
        return Math.floor(whole / 60) + 'm ' + two(whole % 60) + 's';
    return Math.floor(whole / 3600) + 'h ' + two(Math.floor(whole / 60) % 60) + 'm';
}

function size(bytes)
{
    if (!(bytes >= 0))
        return '–';
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
    let unit = 0;
    while (bytes >= 1024 && unit < units.length - 1) {
        bytes /= 1024;
        unit++;
    }
    return (unit === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toPrecision(3) * 1) +
        ' ' + units[unit];
}

const wholeFormat = new Intl.NumberFormat();
const realFormat = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 5 });

function number(value)
{
    if (typeof value !== 'number')
        return String(value);
    if (Number.isInteger(value) && Math.abs(value) < 1e15)
        return wholeFormat.format(value);
    const large = Math.abs(value) >= 1e9, small = Math.abs(value) < 1e-4;
    return large || small ? value.toExponential(3) : realFormat.format(value);
}

function when(ms)
{
    return new Date(ms).toLocaleString(undefined, { dateStyle: 'medium',
        timeStyle: 'medium' });
}

/* A moment of the run as people read it: so long after it started. */
function offset(ms)
{
    return '+' + (ms < 1 ? '0 ms' : duration(ms));
}

function plural(count, one, many)
{
    return number(count) + ' ' + (count === 1 ? one : many || one + 's');
}

/* Control sequences of terminals: CSI, OSC up to its end, and those of one letter. */
const CONTROLS =
    /\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-_]/g;

/* What they draw is left out; a line that was written over and over, such as a progress
 * bar, counts as it stood last. */
function plainText(text)
{
    return text.replace(CONTROLS, '')
        .replace(/\r+\n/g, '\n').replace(/[^\n]*\r/g, '');
}

/* --- times of steps --- */

/* Where a run that is still going on had got to when the page was made. */
const now = run.status === 'running' && run.started
    ? Math.max(run.last, run.made - run.started) : run.last;

function attemptTook(attempt)
{
    return Math.max(0, (attempt.end === undefined ? now : attempt.end) - attempt.start);
}

function stepTook(step)
{
    return step.attempts.length === 0 ? undefined
        : step.attempts.reduce((sum, attempt) => sum + attemptTook(attempt), 0);
}

function stepStart(step)
{
    return step.attempts.length > 0 ? step.attempts[0].start
        : step.start !== undefined ? step.start : step.end;
}

/* While somebody drove the run: [{a, b}]; breaks that matter lie between them. */
const spans = (() => {
    const all = data.segments.map((s) => ({ a: s.start,
        b: s.end === undefined ? now : s.end }));
    if (all.length === 0)
        all.push({ a: 0, b: now });
    const total = all.reduce((sum, s) => sum + s.b - s.a, 0);
    const merged = [];
    for (const s of all) {
        const last = merged[merged.length - 1];
        if (last && s.a - last.b < total * 0.05)
            last.b = Math.max(last.b, s.b);
        else
            merged.push(s);
    }
    return merged;
})();
const activeTime = data.segments.length === 0 ? now : data.segments.reduce((sum, s) =>
    sum + (s.end === undefined ? now : s.end) - s.start, 0);

/* --- what is under the pointer --- */

const tip = document.getElementById('tip');

function tipShow(x, y, title, rows)
{
    tip.replaceChildren(el('b', null, title), el('dl', null, rows.filter((row) => row &&
        row[1] !== undefined && row[1] !== '').map(([name, value, color]) => [
        el('dt', null, color && el('span', { class: 'swatch ' + color }), name),
        el('dd', null, value)])));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width > innerWidth - 8 ? x - 16 - box.width : x + 16;
    const top = y + 16 + box.height > innerHeight - 8 ? y - 12 - box.height : y + 16;
    tip.style.left = Math.max(8, left) + 'px';
    tip.style.top = Math.max(8, top) + 'px';
}

function tipHide()
{
    tip.hidden = true;
}
