/* SPDX-License-Identifier: Apache-2.0
 *
 * Parallel coordinates of a search: an axis for each parameter and one for the metric, a
 * line for each trial, the better the stronger. A parameter that a trial does not have
 * is a place beneath the axis. Dragging along an axis picks trials, here and in the other
 * pictures.
 */

const PARALLEL_MAX = 5000;
const BELOW = -0.12; /* where what a trial does not have stands, in parts of an axis */

/* Positions on an axis run from 0 to 1: at(trial), null where there is none. */
function listedAxis(view, key, values)
{
    const texts = values.map(valueText);
    return { key, name: shortKey(view, key), ticks: texts.map((text, i) =>
        [(i + 0.5) / texts.length, text]), step: 1 / texts.length,
    at: (t) => {
        const i = texts.indexOf(valueText(t.config[key]));
        return i < 0 ? null : (i + 0.5) / texts.length;
    } };
}

function numberAxis(key, name, low, high, log, value)
{
    const map = log ? Math.log : (v) => v;
    const a = map(low), b = map(high);
    const pos = (v) => b > a ? (map(v) - a) / (b - a) : 0.5;
    const ticks = low === high ? [low] : log ? logTicks(low, high)
        : niceTicks(low, high, 5);
    return { key, name, log, ticks: ticks.map((v) => [pos(v), number(v)]),
        at: (t) => value(t) === undefined ? null
            : Math.min(1.02, Math.max(-0.02, pos(value(t)))) };
}

function parameterAxis(view, key)
{
    const param = view.space[key] || {};
    const value = (t) => t.config[key];
    const seen = view.trials.map(value).filter((v) => v !== undefined);
    if (param.values)
        return listedAxis(view, key, param.values);
    if (seen.length === 0 && param.min === undefined)
        return null;
    if (seen.some((v) => typeof v !== 'number'))
        return listedAxis(view, key, [...new Set(seen.map(valueText))].slice(0, 30));
    const low = seen.reduce((a, b) => Math.min(a, b), param.min ?? seen[0]);
    const high = seen.reduce((a, b) => Math.max(a, b), param.max ?? seen[0]);
    const log = /^log/.test(param.type || '') && low > 0;
    return numberAxis(key, shortKey(view, key), low, high, log, value);
}

function metricAxis(view)
{
    const values = view.trials.map((t) => t.value).filter((v) => v !== undefined);
    if (values.length === 0)
        return null;
    const { low, high } = metricRange(view, values);
    return numberAxis(null, view.search.metric, low, high, false, (t) => t.value);
}

/* From the worst to the best: [trial, 0..1]. */
function ranked(view, list)
{
    const sign = view.search.mode === 'max' ? 1 : -1;
    const known = list.filter((t) => t.value !== undefined).sort((a, b) =>
        sign * (a.value - b.value));
    return list.filter((t) => t.value === undefined).map((t) => [t, 0]).concat(
        known.map((t, i) => [t, known.length > 1 ? i / (known.length - 1) : 1]));
}

function mix(from, to, part)
{
    const a = from.match(/[\d.]+/g).map(Number), b = to.match(/[\d.]+/g).map(Number);
    return 'rgb(' + [0, 1, 2].map((i) => Math.round(a[i] + (b[i] - a[i]) * part)) + ')';
}

function axisText(text)
{
    return text.length > 18 ? text.slice(0, 17) + '…' : text;
}

function drawAxis(top, axis, x, frame, lacks, brush, side)
{
    const y = (pos) => frame.bottom - pos * (frame.bottom - frame.top);
    const g = svg('g', { class: 'axis', tabindex: 0, role: 'button', 'data-axis': axis.i,
        'aria-label': axis.name + (axis.log ? ', logarithmic' : '') +
            ': up and down pick a part, escape shows all' },
    svg('line', { x1: x, x2: x, y1: frame.top, y2: frame.bottom }),
    svg('rect', { class: 'grip', x: x - 20, y: frame.top - 12, width: 40,
        height: frame.bottom - frame.top + 52 }),
    svg('text', { class: 'name', x: side === 'first' ? x - 8 : side === 'last' ? x + 8
        : x, y: frame.top - 22, 'text-anchor': side === 'first' ? 'start'
        : side === 'last' ? 'end' : 'middle' }, svg('title', null, axis.key || axis.name),
    axisText(axis.name) + (axis.log ? ' (log)' : '')));
    const step = Math.ceil(axis.ticks.length / 12);
    axis.ticks.forEach(([pos, text], i) => i % step === 0 && g.append(
        svg('line', { x1: x - 3, x2: x + 3, y1: y(pos), y2: y(pos) }),
        svg('text', { class: 'halo', x: side === 'last' ? x - 7 : x + 7, y: y(pos) + 3.5,
            'text-anchor': side === 'last' ? 'end' : 'start' }, axisText(text))));
    if (lacks)
        g.append(svg('circle', { class: 'none', cx: x, cy: y(BELOW), r: 3 }),
            svg('text', { class: 'halo', x: side === 'last' ? x - 7 : x + 7,
                y: y(BELOW) + 3.5, 'text-anchor': side === 'last' ? 'end' : 'start' },
            'none'));
    if (brush)
        g.append(svg('rect', { class: 'brush', x: x - 7, width: 14, y: y(brush[1]),
            height: Math.max(2, y(brush[0]) - y(brush[1])) }));
    top.append(g);
}

/* Dragging along an axis, and the keys that do the same. */
function brushing(view, made, axes, state)
{
    const apply = () => {
        const on = axes.filter((axis) => axis.brush);
        view.pick(on.length === 0 ? null : new Set(view.trials.filter((t) =>
            on.every((axis) => {
                const pos = axis.at(t) ?? BELOW;
                return pos >= axis.brush[0] && pos <= axis.brush[1];
            }))), () => {
            axes.forEach((axis) => { axis.brush = null; });
            apply();
        });
    };
    const posOf = (event) => {
        const y = event.clientY - made.box.getBoundingClientRect().top;
        const part = (state.frame.bottom - y) / (state.frame.bottom - state.frame.top);
        return Math.min(1.03, Math.max(BELOW - 0.04, part));
    };
    let from;
    made.top.addEventListener('pointerdown', (event) => {
        const x = event.clientX - made.box.getBoundingClientRect().left;
        const axis = axes.find((one) => Math.abs(one.x - x) <= 20);
        made.dragged = false;
        if (!axis || event.button !== 0)
            return;
        from = { axis, pos: posOf(event), y: event.clientY };
        made.top.setPointerCapture(event.pointerId);
    });
    made.top.addEventListener('pointermove', (event) => {
        if (!from || (!made.dragged && Math.abs(event.clientY - from.y) < 4))
            return;
        made.dragged = true;
        const to = posOf(event);
        from.axis.brush = [Math.min(from.pos, to), Math.max(from.pos, to)];
        made.later();
    });
    made.top.addEventListener('pointerup', () => {
        if (!from)
            return;
        if (!made.dragged && from.axis.brush) {
            from.axis.brush = null;
            made.dragged = true;
        }
        if (made.dragged)
            apply();
        from = undefined;
    });
    made.top.addEventListener('keydown', (event) => {
        const g = event.target.closest('[data-axis]');
        const by = { ArrowUp: 0.1, ArrowDown: -0.1, Escape: 0 }[event.key];
        if (!g || by === undefined)
            return;
        event.preventDefault();
        const axis = axes[Number(g.dataset.axis)];
        const low = axis.brush ? axis.brush[0] + by : by > 0 ? -0.02 : 0.78;
        axis.brush = by === 0 ? null : [Math.min(0.82, Math.max(BELOW - 0.04, low)),
            Math.min(1.03, Math.max(BELOW + 0.2, low + 0.25))];
        apply();
        const again = made.top.querySelector('[data-axis="' + axis.i + '"]');
        if (again)
            again.focus();
    });
}

/* The trial whose line passes nearest to a place. */
function nearestLine(view, axes, list, yOf, x, y)
{
    let k = 0, found = null, least = 14;
    while (k < axes.length - 2 && axes[k + 1].x < x)
        k++;
    const part = (x - axes[k].x) / (axes[k + 1].x - axes[k].x);
    for (const t of list) {
        const far = Math.abs(yOf(axes[k], t) * (1 - part) +
            yOf(axes[k + 1], t) * part - y);
        if (far < least && isPicked(view, t)) {
            least = far;
            found = t;
        }
    }
    return found;
}

/* Lines from the worst to the best; of many only the best stand out. */
function drawParallel(ctx, view, inRank, line, inks)
{
    const count = inRank.length;
    const alpha = Math.min(0.8, Math.max(0.2, 60 / count));
    const power = Math.min(30, Math.max(1, count / 150));
    const least = count > 100 ? 0.1 : 0.35;
    for (const picked of [false, true])
        for (const [t, part] of inRank) {
            if (isPicked(view, t) !== picked || (picked && t === view.best))
                continue;
            ctx.globalAlpha = picked ? alpha * (least + (1 - least) * part ** power)
                : 0.03;
            ctx.lineWidth = 1 + 0.6 * part;
            ctx.strokeStyle = t.state === 'failed' ? inks.failed
                : mix(inks.edge, inks.accent, part ** (power / 2));
            line(ctx, t);
        }
    ctx.globalAlpha = 1;
    ctx.lineWidth = 2.6;
    ctx.strokeStyle = inks.c1;
    if (view.best && isPicked(view, view.best))
        line(ctx, view.best);
}

function parallel(view)
{
    const axes = view.keys.map((key) => parameterAxis(view, key)).concat(
        metricAxis(view)).filter(Boolean);
    const begun = view.trials.filter((t) => Object.keys(t.config).length > 0 &&
        t.state !== 'waits');
    if (axes.length < 2 || begun.length === 0)
        return null;
    const list = spread(begun, PARALLEL_MAX, [view.best]);
    const inRank = ranked(view, list), last = axes.length - 1;
    const state = {};
    axes.forEach((axis, i) => {
        axis.i = i;
        axis.lacks = list.some((t) => axis.at(t) === null);
    });
    const yOf = (axis, t) => state.frame.bottom - (axis.at(t) ?? BELOW) *
        (state.frame.bottom - state.frame.top);
    const line = (ctx, t) => {
        ctx.beginPath();
        axes.forEach((axis, i) => i === 0 ? ctx.moveTo(axis.x, yOf(axis, t))
            : ctx.lineTo(axis.x, yOf(axis, t)));
        ctx.stroke();
    };
    const made = plot(view, 'Parallel coordinates of ' + plural(list.length, 'trial') +
        ' over ' + axes.map((axis) => axis.name).join(', '), 360,
    (ctx, top, width, height, inks) => {
        state.frame = { top: 44, bottom: height - 52 };
        axes.forEach((axis, i) => { axis.x = 24 + i * (width - 48) / last; });
        drawParallel(ctx, view, inRank, line, inks);
        axes.forEach((axis, i) => drawAxis(top, axis, axis.x, state.frame, axis.lacks,
            axis.brush, i === 0 ? 'first' : i === last ? 'last' : ''));
    });
    made.box.style.minWidth = axes.length * 92 + 'px';
    made.top.setAttribute('role', 'group');
    plotPointer(view, made, (x, y) => nearestLine(view, axes, list, yOf, x, y),
        (t) => [axes[last].x - 60, yOf(axes[last], t)], () => inRank.map(([t]) => t));
    brushing(view, made, axes, state);
    view.marks.push((t) => {
        const d = t && state.frame ? axes.map((axis, i) => (i === 0 ? 'M' : 'L') +
            axis.x.toFixed(1) + ' ' + yOf(axis, t).toFixed(1)).join('') : '';
        made.layer.replaceChildren(...d ? [svg('path', { class: 'marked', d })] : []);
    });
    return figureCard('Parameters and ' + view.search.metric, el('span',
        { class: 'soft hint' }, 'drag along an axis to pick trials, click it to undo'),
    el('div', { class: 'scroll' }, made.box), ['A line is a trial: the stronger, the ' +
        'better its rank; orange is the best, red failed.' +
        (axes.some((axis) => axis.lacks) ? ' What a trial does not have is at “none”.'
            : ''), list.length < begun.length && ' ' + number(list.length) + ' of ' +
        plural(begun.length, 'trial') + ' are drawn.']);
}
