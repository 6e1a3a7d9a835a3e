# SPDX-License-Identifier: Apache-2.0
# k nearest neighbours: awk -v k=5 -f knn.awk TRAIN.csv TEST.csv
# Each file: a header, then four measures in cm and the species. Writes predictions.csv and
# reports its accuracy to the descriptor that RAYWF_REPORT names.
BEGIN { FS = ","; OFS = ","; out = "predictions.csv"; print "species", "predicted" > out }

FNR == 1 { file++; next }

file == 1 {
    for (i = 1; i <= 4; i++)
        train[n, i] = $i
    species[n++] = $5
    next
}

{
    guess = nearest()
    print $5, guess > out
    right += guess == $5
    asked++
}

END {
    if (!asked) {
        print "no flowers to classify" > "/dev/stderr"
        exit 1
    }
    report = ENVIRON["RAYWF_REPORT"] ? "/dev/fd/" ENVIRON["RAYWF_REPORT"] : "/dev/stdout"
    printf "{\"accuracy\": %.4f, \"flowers\": %d}\n", right / asked, asked > report
}

# The species that most of the k nearest flowers have; of two equals the nearer one.
function nearest(   j, d, i, r, best, votes, winner) {
    for (j = 0; j < n; j++) {
        d = 0
        for (i = 1; i <= 4; i++)
            d += ($i - train[j, i]) ^ 2
        dist[j] = d
    }
    split("", votes)
    for (r = 0; r < k && r < n; r++) {
        best = -1
        for (j = 0; j < n; j++)
            if (dist[j] >= 0 && (best < 0 || dist[j] < dist[best]))
                best = j
        dist[best] = -1
        if (++votes[species[best]] > votes[winner])
            winner = species[best]
    }
    return winner
}
