% Three pieces of evidence, true and false, on derived atoms.
%% answer: fault(pump)  0.839535643887992
%% answer: fault(sensor)  0.7756965836940479
%% answer: fault(valve)  0.22145071664173857

0.1::fault(pump).
0.2::fault(valve).
0.3::fault(sensor).

0.9::noise :- fault(pump).
0.4::noise :- fault(valve).
0.7::leak :- fault(valve).
0.2::leak.
0.6::blank :- fault(sensor).
0.1::blank :- fault(pump).

query(fault(_)).
evidence(noise, true).
evidence(leak, false).
evidence(blank, true).
