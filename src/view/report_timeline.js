/* SPDX-License-Identifier: Apache-2.0
 *
 * The timeline: attempts packed into lanes, results that took no time as ticks above
 * them. Time is "active" time: breaks between two drives of a run shrink to a strip.
 */

function timeline()
{
    const GAP = Math.max(1, activeTime * 0.02);
    const starts = [];
    let total = 0;
    for (const span of spans) {
        starts.push(total);
        total += Math.max(span.b - span.a, 0) + GAP;
    }
    total = Math.max(1, total - GAP);

    function toActive(t)
    {
        let i = spans.length - 1;
        while (i > 0 && t < spans[i].a)
            i--;
        const { a, b } = spans[i];
        return starts[i] + Math.min(Math.max(t - a, 0), b - a);
    }

    function spanOf(t)
    {
        return spans.reduce((found, span, i) => t >= span.a ? i : found, 0);
    }

    /* Attempts that follow each other without a break share a lane. */
    function chainsOf(step)
    {
        const chains = [];
        for (const attempt of step.attempts.filter((one) => one.dir)) {
            const end = attempt.end === undefined ? now : attempt.end;
            const piece = { step, attempt, a: toActive(attempt.start), b: toActive(end),
                state: attempt.how || 'running' };
            const last = chains[chains.length - 1];
            const at = spanOf(attempt.start);
            if (last && last.span === at)
                last.pieces.push(piece);
            else
                chains.push({ span: at, pieces: [piece] });
        }
        return chains;
    }

    function pack(chains)
    {
        const lanes = [];
        chains.sort((x, y) => x.pieces[0].a - y.pieces[0].a);
        for (const chain of chains) {
            const pieces = chain.pieces;
            let lane = lanes.findIndex((end) => end <= pieces[0].a);
            lane = lane < 0 ? lanes.length : lane;
            lanes[lane] = Math.max(pieces[pieces.length - 1].b,
                pieces[0].a + total * 5e-4);
            chain.lane = lane;
        }
        return lanes.length;
    }

    const chains = steps.flatMap(chainsOf);
    /* What had no process of its own: found in the cache, or decided at once. */
    const ticks = steps.filter((step) => step.end !== undefined &&
        !step.attempts.some((attempt) => attempt.dir)).map((step) => ({ step,
        a: toActive(step.end), state: step.state }));
    if (chains.length + ticks.length === 0)
        return;
    const lanes = pack(chains);
    const pieces = chains.flatMap((chain) => chain.pieces.map((piece) =>
        Object.assign(piece, { lane: chain.lane })));
    const order = pieces.concat(ticks).sort((x, y) => x.a - y.a);
    order.forEach((item, i) => { item.i = i; });
    const box = section('timeline');
    const rowHeight = lanes <= 24 ? 24 : lanes <= 80 ? 11 : 5;
    const top = ticks.length > 0 ? 26 : 6;
    const bottom = top + lanes * rowHeight + 4;
    let from = 0, to = total, width = 0, current = -1;
    const drawing = svg('svg', { tabindex: 0, role: 'application', height: bottom + 22,
        'aria-label': 'Timeline of ' + plural(steps.length, 'step') +
        '. Arrow keys go from step to step, Enter opens one, plus and minus zoom.' });

    function xOf(active)
    {
        return (active - from) / (to - from) * width;
    }

    function niceStep(rough)
    {
        const units = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3,
            3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5];
        return units.find((unit) => unit >= rough) ||
            Math.ceil(rough / 864e5) * 864e5;
    }

    function tickText(ms, step)
    {
        if (ms === 0)
            return '0';
        if (step >= 6e4)
            return duration(ms);
        if (ms >= 6e4)
            return Math.floor(ms / 6e4) + 'm ' + Math.round(ms % 6e4 / 1000) + 's';
        return step < 1000 && ms < 1000 ? ms + ' ms'
            : (ms / 1000).toFixed(step < 100 ? 2 : step < 1000 ? 1 : 0) + ' s';
    }

    /* Each span says how much active time had passed, breaks not counted. */
    function drawAxis(layer)
    {
        const step = niceStep((to - from) / Math.max(2, width / 110));
        spans.forEach((span, i) => {
            const passed = starts[i] - i * GAP;
            const lead = Math.ceil(passed / step) * step;
            for (let t = lead; t <= passed + span.b - span.a; t += step) {
                const x = xOf(starts[i] + t - passed);
                if (x < -1 || x > width + 1 || (i > 0 && t === passed))
                    continue;
                layer.append(svg('line', { class: 'grid', x1: x, x2: x, y1: 0,
                    y2: bottom }), svg('text', { x: Math.min(Math.max(x, 0), width),
                    y: bottom + 16, 'text-anchor': x < 20 ? 'start'
                        : x > width - 20 ? 'end' : 'middle' }, tickText(t, step)));
            }
            if (i > 0)
                drawBreak(layer, i);
        });
    }

    function drawBreak(layer, i)
    {
        const x = xOf(starts[i] - GAP), w = xOf(starts[i]) - x;
        const strip = svg('rect', { class: 'gap', x, width: w, y: 0, height: bottom });
        strip.append(svg('title', null, 'resumed after ' +
            duration(spans[i].a - spans[i - 1].b)));
        layer.append(strip);
    }

    function drawPiece(layer, piece)
    {
        const x = xOf(piece.a), w = Math.max(1.5, xOf(piece.b) - x);
        if (x + w < 0 || x > width)
            return;
        const y = top + piece.lane * rowHeight + 1;
        layer.append(svg('rect', { class: 'piece s-' + piece.state +
            (piece.i === current ? ' now' : ''), x, y, width: w, height: rowHeight - 3,
            rx: Math.min(3, w / 2, rowHeight / 4), 'data-i': piece.i }));
    }

    function drawWaits(layer)
    {
        for (const chain of chains)
            for (let i = 1; i < chain.pieces.length; i++) {
                const y = top + chain.lane * rowHeight + rowHeight / 2;
                layer.append(svg('line', { class: 'wait',
                    x1: xOf(chain.pieces[i - 1].b), x2: xOf(chain.pieces[i].a),
                    y1: y, y2: y }));
            }
    }

    /* The name stands inside the bar, or after it when there is room. */
    function drawLabels(layer)
    {
        if (rowHeight < 20)
            return;
        const next = [];
        for (const chain of chains.slice().reverse()) {
            const last = chain.pieces[chain.pieces.length - 1];
            const x = xOf(chain.pieces[0].a), end = Math.max(xOf(last.b), x + 2);
            const longest = chain.pieces.reduce((best, piece) =>
                piece.b - piece.a > best.b - best.a ? piece : best);
            const name = shortName(last.step.address);
            const room = xOf(longest.b) - xOf(longest.a), need = name.length * 6.3 + 12;
            const free = (next[chain.lane] || width) - end;
            const inside = room >= need && longest.state !== 'retry' &&
                longest.state !== 'lost';
            next[chain.lane] = x;
            if (end < 0 || x > width || (!inside && free < need))
                continue;
            layer.append(svg('text', { class: 'label' + (inside ? ' inside' : '') +
                (longest.state === 'failed' ? ' strong' : ''),
                x: inside ? Math.max(xOf(longest.a), 0) + 7 : end + 6,
                y: top + chain.lane * rowHeight + rowHeight / 2 + 3.5 }, name));
        }
    }

    function draw()
    {
        width = box.clientWidth - 32;
        drawing.setAttribute('viewBox', '0 0 ' + width + ' ' + (bottom + 22));
        const layer = svg('g');
        drawAxis(layer);
        ticks.forEach((tick) => {
            const x = xOf(tick.a);
            if (x >= 0 && x <= width)
                layer.append(svg('line', { class: 'tick s-' + tick.state +
                    (tick.i === current ? ' now' : ''), x1: x, x2: x, y1: 4, y2: 18,
                    'data-i': tick.i }));
        });
        drawWaits(layer);
        pieces.forEach((piece) => drawPiece(layer, piece));
        drawLabels(layer);
        drawing.replaceChildren(hatch(), layer);
    }

    function hatch()
    {
        return svg('defs', null, svg('pattern', { id: 'hatch', width: 5, height: 5,
            patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)' },
        svg('rect', { width: 5, height: 5, fill: 'var(--card)' }),
        svg('rect', { width: 2, height: 5, fill: 'var(--backoff)' })));
    }

    function about(item, x, y)
    {
        const attempt = item.attempt, step = item.step;
        tipShow(x, y, step.address, [
            ['State', stateWord(item.state)],
            attempt && step.attempts.length > 1 && ['Attempt', attempt.n + ' of ' +
                step.attempts[step.attempts.length - 1].n],
            attempt && ['Took', duration(attemptTook(attempt))],
            [attempt ? 'Began' : 'At', offset(attempt ? attempt.start : step.end)],
            ['Cause', attempt ? attempt.message || attempt.cause : step.message],
            !attempt && step.origin && ['Made by', step.origin],
        ]);
    }

    /* --- zoom --- */

    function zoom(a, b)
    {
        const least = Math.max(total / 5000, 0.01);
        if (b - a < least)
            b = a + least;
        from = Math.max(0, Math.min(a, total - (b - a)));
        to = Math.min(total, from + (b - a));
        tipHide();
        draw();
    }

    function scale(factor, around)
    {
        const at = around === undefined ? (from + to) / 2 : around;
        zoom(at - (at - from) * factor, at + (to - at) * factor);
    }

    function activeAt(event)
    {
        const rect = drawing.getBoundingClientRect();
        return from + (event.clientX - rect.left) / rect.width * (to - from);
    }

    let pressed, marquee;
    drawing.addEventListener('pointerdown', (event) => {
        if (event.button === 0 && event.pointerType !== 'touch')
            pressed = { x: event.clientX, at: activeAt(event) };
    });
    addEventListener('pointermove', (event) => {
        if (!pressed || Math.abs(event.clientX - pressed.x) < 6)
            return;
        const x = xOf(pressed.at);
        const x2 = xOf(Math.min(Math.max(activeAt(event), from), to));
        marquee = marquee || drawing.appendChild(svg('rect', { class: 'marquee', y: 0,
            height: bottom }));
        marquee.setAttribute('x', Math.min(x, x2));
        marquee.setAttribute('width', Math.abs(x2 - x));
        tipHide();
    });
    addEventListener('pointerup', (event) => {
        if (pressed && marquee) {
            const at = Math.min(Math.max(activeAt(event), from), to);
            zoom(Math.min(at, pressed.at), Math.max(at, pressed.at));
        } else if (pressed && event.target.dataset && event.target.dataset.i &&
                   drawing.contains(event.target))
            openStep(order[event.target.dataset.i].step.address);
        pressed = marquee = undefined;
    });
    drawing.addEventListener('dblclick', () => zoom(0, total));
    drawing.addEventListener('wheel', (event) => {
        if (!event.ctrlKey && !event.metaKey)
            return;
        event.preventDefault();
        scale(event.deltaY < 0 ? 0.8 : 1.25, activeAt(event));
    }, { passive: false });
    drawing.addEventListener('pointermove', (event) => {
        const i = event.target.dataset && event.target.dataset.i;
        if (i && !pressed)
            about(order[i], event.clientX, event.clientY);
        else
            tipHide();
    });
    drawing.addEventListener('pointerleave', tipHide);

    /* --- keys --- */

    function go(to_)
    {
        current = Math.min(Math.max(to_, 0), order.length - 1);
        const item = order[current];
        if (item.a < from || item.a > to)
            zoom(item.a - (to - from) / 2, item.a + (to - from) / 2);
        draw();
        const shape = drawing.querySelector('.now');
        const rect = (shape || drawing).getBoundingClientRect();
        about(item, rect.left, rect.bottom - 8);
    }

    const keys = {
        ArrowRight: () => go(current + 1), ArrowLeft: () => go(current - 1),
        Home: () => go(0), End: () => go(order.length - 1),
        Enter: () => current >= 0 && openStep(order[current].step.address),
        '+': () => scale(0.6), '=': () => scale(0.6), '-': () => scale(1.6),
        0: () => zoom(0, total), Escape: tipHide,
    };
    drawing.addEventListener('keydown', (event) => {
        if (keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
            event.preventDefault();
            keys[event.key]();
        }
    });
    drawing.addEventListener('blur', () => {
        current = -1;
        tipHide();
        draw();
    });

    const tools = document.querySelector('#timeline .tools');
    tools.append(el('span', { class: 'soft hint' },
        'drag to zoom'),
    el('button', { class: 'btn', 'aria-label': 'Zoom in',
        on: { click: () => scale(0.6) } }, '+'),
    el('button', { class: 'btn', 'aria-label': 'Zoom out',
        on: { click: () => scale(1.6) } }, '−'),
    el('button', { class: 'btn', on: { click: () => zoom(0, total) } }, 'All'));
    box.append(drawing, key());
    new ResizeObserver(draw).observe(box);

    function key()
    {
        const seen = new Set(pieces.map((piece) => piece.state));
        const thin = new Set(ticks.map((tick) => tick.state));
        const entry = (state, kind) => el('span', null, el('i', { class: 's-' + state +
            kind }), stateWord(state), kind && state !== 'cached' && ' (took no time)');
        return el('div', { class: 'key' }, [...seen].map((state) => entry(state, '')),
            [...thin].map((state) => entry(state, ' thin')));
    }
}
