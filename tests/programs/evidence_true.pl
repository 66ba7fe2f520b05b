% Evidence that an atom is true: P(query | evidence).
%% answer: burst  0.7560975609756098
%% answer: alarm  1

0.2::burst.
0.6::alarm :- burst.
0.05::alarm.

query(burst).
query(alarm).
evidence(alarm).
