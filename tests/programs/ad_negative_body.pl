% An annotated disjunction whose body is a negation.
%% answer: crash  0.1625
%% answer: swerve  0.39
%% answer: safe  0.8375

0.35::brake.
0.25::crash; 0.6::swerve :- \+ brake.

safe :- \+ crash.

query(crash).
query(swerve).
query(safe).
