% Very small probabilities keep their relative accuracy.
%% answer: any  1.999999999e-09
%% answer: both  1e-18
%% answer: scored  5e-10

1e-9::hit(a).
0.000000001::hit(b).
0.5::aim.

any :- hit(_).
both :- hit(a), hit(b).
scored :- hit(a), aim.

query(any).
query(both).
query(scored).
